"""Models in one file: which backend serves it, and the folder of the configuration that it lacks."""

from __future__ import annotations

from pathlib import Path

from ..errors import WeightsUnavailable
from ..registry.registry import Registry
from ..registry.specs import BackendSpec
from .weights import from_hub

INDEX = "model_index.json"


def find_backend(registry: Registry, file: Path) -> tuple[BackendSpec, Path]:
    """The backend that reads a checkpoint in one file, and the folder of its configuration.

    That is a diffusers folder, of which no weights are read: one beside the file of its name, else the file's own, else
    that of the hub model it is built on, from the local cache where it is there. Raises WeightsUnavailable where no
    backend knows the file, or the configuration is nowhere.
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
    """The shapes of the tensors in a safetensors file, by name; raises WeightsUnavailable where it is no such file."""
    from safetensors import SafetensorError, safe_open

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
    return next((folder for folder in (file.with_suffix(""), file.parent) if (folder / INDEX).is_file()), None)


def download_config(file: Path, base: str) -> Path:
    try:
        return from_hub(base, "configuration", "*.json")
    except WeightsUnavailable as error:
        raise WeightsUnavailable(
            f"model {str(file)!r} has weights alone, and the configuration they need could not be fetched from the hub "
            f"({base}): put {INDEX} of such a model and the folders beside it, without weights, into "
            f"{str(file.with_suffix(''))!r}"
        ) from error
