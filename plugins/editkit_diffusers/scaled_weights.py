"""8-bit weights with scales, as ComfyUI stores them (``scale_weight`` and ``weight_scale``)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from editkit import WeightsUnavailable

_SCALES = (".scale_weight", ".weight_scale")
"""Endings of the names of scales, beside ``.weight``."""
_OTHER = (".scale_input", ".input_scale", "scaled_fp8", ".comfy_quant")
"""Endings of tensors that hold no weights: scales of the activations, and markers."""
_UNKNOWN = (
    ".weight_scale_2",
    ".weight_scale_inv",
    ".absmax",
    ".qweight",
    ".qzeros",
    ".scales",
    ".SCB",
    "bitsandbytes__nf4",
)
"""Endings of tensors of other quantisations."""
_FORMATS = ("float8_e4m3fn", "float8_e5m2")


def has_scales(names: Iterable[str]) -> bool:
    """Return whether tensors of these names are scaled or quantised."""
    return any(name.endswith((*_SCALES, *_UNKNOWN, "scaled_fp8")) for name in names)


def holds_weights(name: str) -> bool:
    """Return whether a tensor of this name is neither a scale nor a marker."""
    return not name.endswith((*_SCALES, *_OTHER))


def unscale(
    tensors: Mapping[str, Tensor], header: Mapping[str, str], called: str, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Return tensors with their scales applied, in ``dtype`` where there is one.

    A scale has one value, or one for each row of the weight. Raises WeightsUnavailable, whose message begins with
    ``called``, for weights quantised in another way.
    """
    _check_formats(tensors, header, called)
    plain = {name: tensor for name, tensor in tensors.items() if holds_weights(name)}
    for name in [name for name in tensors if name.endswith(_SCALES)]:
        ending = next(one for one in _SCALES if name.endswith(one))
        weight = f"{name.removesuffix(ending)}.weight"
        if weight not in plain:
            raise WeightsUnavailable(f"{called} has the scale {name} and no {weight}: download it again")
        plain[weight] = _scaled(plain[weight], tensors[name], name, called).to(dtype)
    return plain


def _scaled(weight: Tensor, scale: Tensor, name: str, called: str) -> Tensor:
    """Return a weight (N, ...) times its scale, of one value or N."""
    if scale.numel() != 1 and not scale.shape[0] == scale.numel() == len(weight):
        raise WeightsUnavailable(
            f"{called} has the scale {name} of the shape {tuple(scale.shape)}, which is not supported: one value, or "
            f"one for each of {len(weight)} rows, is"
        )
    factors = scale.float().reshape(-1, *[1] * (weight.ndim - 1))
    return weight.float() * factors


def _check_formats(tensors: Mapping[str, Tensor], header: Mapping[str, str], called: str) -> None:
    """Raise WeightsUnavailable for weights in a format other than floats."""
    strange = [name for name in tensors if name.endswith(_UNKNOWN)]
    strange += [name for name, one in tensors.items() if holds_weights(name) and _is_packed(name, one)]
    formats = [bytes(one.flatten().tolist()) for name, one in tensors.items() if name.endswith(".comfy_quant")]
    formats += [header["_quantization_metadata"].encode()] if "_quantization_metadata" in header else []
    strange += [text for content in formats for text in _formats_in(content) if text not in _FORMATS]
    if strange:
        raise WeightsUnavailable(
            f"{called} holds quantised weights ({strange[0][:80]}) in a format that is not supported: get it in "
            "float16, bfloat16 or scaled fp8"
        )


def _is_packed(name: str, tensor: Tensor) -> bool:
    """Whether a tensor holds whole numbers in place of weights; those of one dimension may be a file or a counter."""
    if tensor.is_floating_point():
        return False
    return name.endswith((".weight", ".bias", ".scale")) or (tensor.ndim > 1 and not name.endswith("ids"))


def _formats_in(content: bytes) -> list[str]:
    """Return the formats that a JSON text of ComfyUI names."""
    try:
        entry = json.loads(content)
        layers = entry.get("layers", {"": entry}).values()
        return [str(layer["format"]) for layer in layers]
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return [repr(content[:40])]
