"""Files of style adapters: found, and read from safetensors only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from editkit import BadFile, InvalidParameter, WeightsUnavailable, check_download, is_finite

from ..components import zero_weights

_VALUES = re.compile(r"to_v_ip\.weight$|ip_adapter_double_stream_v_proj\.weight$")
"""Names of the weights without which an IP-Adapter has no effect."""
_READING = re.compile(r"(image_proj|ip_adapter_proj_model)\.(proj(\.\d+)?|proj_in)\.weight$")
"""Names of the weights by which an adapter reads the embedding of an image."""
_PICKLES = (".bin", ".ckpt", ".pt", ".pth")


def adapter_file(location: Path) -> Path:
    """Return the adapter file that ``location`` is or holds.

    Raises WeightsUnavailable for a pickle, a missing file, and a folder with none or several.
    """
    if location.is_dir():
        files = sorted(location.glob("*.safetensors"))
        if len(files) != 1:
            held = ", ".join(file.name for file in files[:4]) or "no .safetensors file"
            raise WeightsUnavailable(f"style:model={str(location)!r} is a folder with {held}: give one file of it")
        return files[0]
    if not location.is_file():
        raise WeightsUnavailable(
            f"style:model={str(location)!r} is no file or folder here: download a style adapter and give its file"
        )
    if location.suffix != ".safetensors":
        advice = "get its .safetensors file" if location.suffix in _PICKLES else "give a .safetensors file"
        raise WeightsUnavailable(
            f"style:model={str(location)!r} is no .safetensors file: others can run code when loaded; {advice}"
        )
    return location


def read_tensors(file: Path) -> Mapping[str, Tensor]:
    """Return the tensors of an adapter file; raises BadFile if it is damaged, or holds NaN or whole numbers."""
    try:
        check_download(file)
        with safe_open(file, framework="pt") as opened:
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise BadFile(f"style:model={str(file)!r} cannot be read ({error}): download it again") from error
    for key, tensor in tensors.items():
        if not tensor.is_floating_point() or not is_finite(tensor.float()):
            fault = "NaN or infinity" if tensor.is_floating_point() else f"{tensor.dtype}"
            raise BadFile(f"style:model={str(file)!r} holds {fault} in {key[:80]!r}: download it again")
    values = [tensor for key, tensor in tensors.items() if _VALUES.search(key)]
    if values and not any(tensor.any() for tensor in values):
        raise BadFile(f"style:model={str(file)!r} has zeros in all its values, so it has no effect: download it again")
    for text in zero_weights(tensors, f"style:model={str(file)!r}"):
        raise BadFile(text)
    reading = [tensor for key, tensor in tensors.items() if _READING.match(key)]
    if reading and not any(tensor.any() for tensor in reading):
        raise BadFile(
            f"style:model={str(file)!r} has zeros in all weights that read an image, so the image has no effect: "
            "download it again"
        )
    return tensors


def sections(tensors: Mapping[str, Tensor], prefixes: Mapping[str, str]) -> dict[str, dict[str, Tensor]]:
    """Return the tensors under each section of an adapter, whose names in a file begin with a prefix of ``prefixes``.

    Raises InvalidParameter for a tensor of no section, and for an adapter without one of them.
    """
    found: dict[str, dict[str, Tensor]] = {section: {} for section in prefixes.values()}
    for name, tensor in tensors.items():
        prefix = next((prefix for prefix in prefixes if name.startswith(f"{prefix}.")), None)
        if prefix is None:
            raise InvalidParameter(f"holds {name[:80]!r}, which is no weight of an IP-Adapter")
        found[prefixes[prefix]][name[len(prefix) + 1 :]] = tensor
    lacking = [section for section, part in found.items() if not part]
    if lacking:
        raise InvalidParameter(f"holds no {lacking[0]} weights: it is no IP-Adapter, or only a part of one")
    return found
