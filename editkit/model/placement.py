"""Device and dtype of a model."""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import InvalidParameter
from ..registry.params import shorten
from .files.folders import stored_dtype

_DTYPE_NAMES = {
    torch.float32: ("float32", "fp32", "float", "single"),
    torch.float16: ("float16", "fp16", "half"),
    torch.bfloat16: ("bfloat16", "bf16"),
    torch.float64: ("float64", "fp64", "double"),
}
DTYPES = {name: dtype for dtype, names in _DTYPE_NAMES.items() for name in names}
AUTO = "auto"
"""Name of the dtype that the weights are stored in."""


def resolve_device(name: str | int | torch.device | None) -> torch.device:
    """Return a usable device, by default cuda if available; raises InvalidParameter for one that is not."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type == "meta":
            raise RuntimeError("it holds no values")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), "")[:200]
        raise InvalidParameter(f"device={shorten(name)} cannot be used here ({reason}): try 'cpu'") from None
    return device


def default_dtype(device: torch.device, weights: Path) -> torch.dtype:
    """Return the dtype in which a model with these weights is loaded if none is given.

    GPUs compute several times faster in half precision: that of the weights, else bfloat16 where the GPU has it.
    """
    if device.type != "cuda":
        return torch.float32
    stored = stored_dtype(weights)
    if stored in (torch.float16, torch.bfloat16):
        return stored
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def resolve_dtype(name: str | torch.dtype | None) -> torch.dtype | None:
    """Return a dtype by name or value, None for one that depends on the weights; raises InvalidParameter for others."""
    if name is None:
        return None
    text = str(name).lower().removeprefix("torch.")
    if text == AUTO:
        return None
    if text not in DTYPES:
        raise InvalidParameter(
            f"dtype={shorten(name)} is not allowed: one of {', '.join(names[0] for names in _DTYPE_NAMES.values())}, "
            f"a short name of theirs such as fp16, or {AUTO} for that of the weights"
        )
    return DTYPES[text]
