"""Transfer of values from main memory to a device without a wait for the work it has in hand."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Return a tensor in main memory on ``device``, in ``dtype`` if one is given; the host does not wait for the copy.

    Page-locked memory is what a GPU copies by itself: a copy of other memory waits for all kernels before it. A copy
    to another dtype is converted in main memory, into memory of torch's own that is not page-locked.
    """
    tensor = tensor if dtype is None else tensor.to(dtype)
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def numbers_on(values: float | Sequence[float], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return a number (), or B numbers (B,), on ``device``; equal numbers are an argument of a kernel and no copy."""
    if not isinstance(values, Sequence):
        return torch.full((), values, dtype=dtype, device=device)
    if len(set(values)) == 1:
        return torch.full((len(values),), values[0], dtype=dtype, device=device)
    return to_device(torch.tensor(values, dtype=dtype, device="cpu"), device)


def rows_on(rows: Sequence[int], device: torch.device) -> Tensor:
    """Return the numbers of rows (R,) as an index on ``device``: a list as an index makes the host wait."""
    return to_device(torch.tensor(rows, dtype=torch.int64, device="cpu"), device)
