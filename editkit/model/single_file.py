"""Checkpoints in one file: find the backend that serves one and the folder of its configuration."""

from __future__ import annotations

from pathlib import Path

from ..errors import WeightsUnavailable
from ..registry.registry import Registry
from ..registry.specs import BackendSpec
from .weights import from_hub

INDEX = "model_index.json"
"""File that every diffusers folder has."""


def find_backend(registry: Registry, file: Path) -> tuple[BackendSpec, Path]:
    """Return the backend that reads a checkpoint file and the folder of its configuration.

    The folder is a diffusers folder whose weights are not read: the one beside the file with its name, else the file's
    own, else that of the hub model it is based on, from the local cache if it is there. Raises WeightsUnavailable if no
    backend detects the file or no configuration is found.
    """
    shapes = shapes_of(file)
    for spec in registry.specs["backends"].values():
        base = spec.detect(shapes) if spec.detect else None
        if base:
            return spec, adjacent_config(file) or download_config(file, base)
    readers = [name for name, spec in registry.specs["backends"].items() if spec.detect]
    raise WeightsUnavailable(
        f"model {str(file)!r} is a file that holds no whole model of {' or '.join(readers)} (it begins with "
        f"{min(shapes, default='nothing')}): give the diffusers folder it belongs to, or, of a LoRA, the model it is "
        "for and this with adapters="
    )


def shapes_of(file: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors in a safetensors file by name; raises WeightsUnavailable for another file."""
    from safetensors import SafetensorError, safe_open

    if file.suffix == ".gguf":
        raise WeightsUnavailable(
            f"model {str(file)!r} is a file of quantised weights (GGUF), which is not supported: get the model as "
            ".safetensors, in float16, bfloat16 or scaled fp8"
        )
    if file.suffix != ".safetensors":
        raise WeightsUnavailable(
            f"model {str(file)!r} is a file other than .safetensors, which can run code when loaded: convert it, or "
            "give the diffusers folder it belongs to"
        )
    try:
        with safe_open(file, framework="pt") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsUnavailable(f"model {str(file)!r} cannot be read ({error}): download it again") from error


def adjacent_config(file: Path) -> Path | None:
    """Return the folder with a configuration beside a checkpoint file, if there is one."""
    return next((folder for folder in (file.with_suffix(""), file.parent) if (folder / INDEX).is_file()), None)


def download_config(file: Path, base: str) -> Path:
    """Download the configuration of the hub model ``base``; raises WeightsUnavailable if that fails."""
    try:
        return from_hub(base, "configuration", "*.json")
    except WeightsUnavailable as error:
        raise WeightsUnavailable(
            f"model {str(file)!r} has weights alone, and the configuration they need could not be fetched from the hub "
            f"({base}): put {INDEX} of such a model and the folders beside it, without weights, into "
            f"{str(file.with_suffix(''))!r}"
        ) from error
