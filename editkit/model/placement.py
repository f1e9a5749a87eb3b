"""Device and dtype of a model."""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import InvalidParameter
from ..registry.params import shorten
from .files.folders import stored_dtype
from .options import dtype_name


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
    full = dtype_name(name)
    return None if full is None else getattr(torch, full)
