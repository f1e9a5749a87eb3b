"""Checkpoints in one file: find the backend that serves one and the folder of its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...errors import WeightsUnavailable
from ...registry.registry import Registry
from ...registry.specs import BackendSpec
from .folders import INDEX, read_index
from .headers import read_tensor_header
from .hub import from_hub

_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff", ".avif", ".bmp")


def find_backend(registry: Registry, file: Path) -> tuple[BackendSpec, Path]:
    """Return the backend that reads a checkpoint file and the folder of its configuration.

    The folder is a diffusers folder whose weights are not read: the one beside the file with its name, else the file's
    own, else that of the hub model it is based on, from the local cache if it is there. Of several backends that detect
    the file, it is that of the pipeline in the configuration beside it, else the first. Raises WeightsUnavailable if no
    backend detects the file or no configuration is found.
    """
    _check_kind(registry, file)
    shapes, _, metadata = read_tensor_header(file, f"model {str(file)!r}")
    specs = [spec for spec in registry.specs["backends"].values() if spec.detect]
    bases: list[tuple[BackendSpec, str]] = [(spec, base) for spec in specs if (base := spec.detect(shapes))]
    if not bases:
        _refuse_inversion(file, metadata)
        _refuse_network(registry, file)
        families = " or ".join(spec.name for spec in specs)
        raise WeightsUnavailable(
            f"model {str(file)!r} is a file that holds no whole model of {families} (it begins with "
            f"{min(shapes, default='nothing')}): give the diffusers folder it belongs to, or, of a LoRA, the model it "
            "is for and this with adapters="
        )
    folder = _adjacent_config(file)
    if folder is None:
        spec, base = bases[0]
        return spec, download_config(file, base)
    pipeline = read_index(folder)["_class_name"]
    return next((spec for spec, _ in bases if pipeline in spec.pipelines), bases[0][0]), folder


def _check_kind(registry: Registry, file: Path) -> None:
    """Raise WeightsUnavailable for a file other than safetensors; a GGUF file holds no whole model."""
    if file.suffix == ".gguf":
        _refuse_network(registry, file)
    if file.suffix != ".safetensors" and file.suffix.lower() in (".safetensors", ".sft"):
        raise WeightsUnavailable(
            f"model {str(file)!r} ends in {file.suffix}: rename it to {file.with_suffix('.safetensors').name!r}"
        )
    if file.suffix.lower() in _IMAGES:
        raise WeightsUnavailable(
            f"model {str(file)!r} is an image, and no model: give a name, a folder, a file of weights or a hub id; "
            "the recipe of a result is printed by editkit show"
        )
    if file.suffix == ".json":
        raise WeightsUnavailable(
            f"model {str(file)!r} is a configuration: give the folder that it is in, {str(file.parent)!r}"
        )
    if file.suffix != ".safetensors":
        raise WeightsUnavailable(
            f"model {str(file)!r} is a file other than .safetensors, which can run code when loaded: convert it, or "
            "give the diffusers folder it belongs to"
        )


def _refuse_inversion(file: Path, metadata: Mapping[str, str]) -> None:
    """Raise WeightsUnavailable for the file of an inversion."""
    if "editkit" in metadata:
        raise WeightsUnavailable(
            f"model {str(file)!r} is an inversion that editkit invert wrote, and no model: editkit show prints its "
            "settings, and editkit reconstruct and edits take it in place of an image"
        )


def _refuse_network(registry: Registry, file: Path) -> None:
    """Raise WeightsUnavailable for a file that a backend describes: it holds one part of a model."""
    describers = [spec.describe for spec in registry.specs["backends"].values() if spec.describe]
    what = next(filter(None, (describe(file) for describe in describers)), None)
    if what is not None:
        raise WeightsUnavailable(f"model {str(file)!r} holds {what}, and is no whole model: {ADVICE}")


ADVICE = "give the model's diffusers folder with -m (model=), and a network's file with --transformer (transformer=)"
"""Advice for a file that holds one part of a model."""


def _adjacent_config(file: Path) -> Path | None:
    """Return the folder with a configuration beside a checkpoint file, if there is one."""
    return next((folder for folder in (file.with_suffix(""), file.parent) if (folder / INDEX).is_file()), None)


def download_config(file: Path, base: str) -> Path:
    """Download the configuration of the hub model ``base``; raises WeightsUnavailable if that fails."""
    try:
        return from_hub(base, "configuration", "*.json")
    except WeightsUnavailable as error:
        raise WeightsUnavailable(
            f"model {str(file)!r} has weights alone, and the configuration they need could not be fetched from the hub "
            f"({base}): put {INDEX} of such a model and the folders beside it, with weights of the parts that the file "
            f"lacks, into {str(file.with_suffix(''))!r}, or {ADVICE}"
        ) from error
