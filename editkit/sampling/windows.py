"""Evaluation of the network on a long image in overlapping windows (Bar-Tal et al., arXiv 2302.08113)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..diffusion.denoiser import Condition

STRIDE = 3 / 4
"""Largest distance between windows, as a share of their length."""


def evaluate_in_windows(
    network: Callable[[Tensor, Condition], Tensor], x: Tensor, condition: Condition, shape: tuple[int, int]
) -> Tensor:
    """Return the mean of estimates for windows of ``shape`` (h, w) that cover latents ``x`` (B, C, h, w).

    Windows are as high or as wide as the latents. Their estimates are weighted by the distance to the window's ends.
    Tensors of the condition of the size of the latents are cut like them.
    """
    axis = 2 if shape[0] < x.shape[2] else 3
    side, length = shape[axis - 2], x.shape[axis]
    ramp = torch.arange(side, device=x.device, dtype=x.dtype)
    weight = (torch.minimum(ramp, side - 1 - ramp) + 1).view([-1 if dim == axis else 1 for dim in range(4)])
    total, weights = torch.zeros_like(x), torch.zeros_like(x)
    for start in window_starts(length, side):
        part = {
            name: tensor.narrow(axis, start, side) if tensor.shape[2:] == x.shape[2:] else tensor
            for name, tensor in condition.items()
        }
        estimate = network(x.narrow(axis, start, side), part)
        total.narrow(axis, start, side).add_(weight * estimate)
        weights.narrow(axis, start, side).add_(weight)
    return total / weights


def window_starts(length: int, side: int) -> list[int]:
    """Return the starts of the fewest evenly spaced windows of ``side`` that cover ``length`` and overlap enough."""
    if length <= side:
        return [0]
    count = math.ceil((length - side) / max(1, math.floor(STRIDE * side))) + 1
    return [round(index * (length - side) / (count - 1)) for index in range(count)]
