"""Seams that do not show: what is drawn beside pixels that must not change begins as they end.

All pictures here are (1, 3, H, W) in [0, 1], and ``there`` (1, 1, H, W) is True where pixels must not change.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .pull_push_fill import mean_of_neighbours, pull_push_fill

_COLOUR_SLOPE = 6 / 255
"""How fast what is drawn may leave the border's colours, in levels a squared pixel of distance."""


def typical_jump(pixels: Tensor) -> float:
    """The mean difference between neighbouring columns or rows, whichever differ less; 0 of a single pixel."""
    jumps = [float(pixels.diff(dim=dim).abs().mean()) for dim in (2, 3) if pixels.shape[dim] > 1]
    return min(jumps, default=0.0)


def extend_border(pixels: Tensor, there: Tensor) -> Tensor:
    """The pixels that are there, and beyond them their border: once as it is, then ever smoother."""
    share = mean_of_neighbours(there.to(pixels))
    first = ~there & (share > 0)
    border = mean_of_neighbours(pixels * there) / share.clamp(min=0.25)
    return pull_push_fill(torch.where(first, border, pixels), there | first)


def blend_at_border(drawn: Tensor, seen: Tensor, there: Tensor, calm: float, reach: float) -> Tensor:
    """Lay what was drawn beside what is there.

    What the two differ by at the border is taken off and fades over ``reach`` pixels. Then nothing may be farther from
    ``seen``, the continued border, than its distance allows: beside the border by ``calm``, a few pixels on by all.
    """
    away = _distance_to_known(there)
    leash = calm * away + _COLOUR_SLOPE * (away - 1).clamp(min=0) ** 2
    right = drawn + pull_push_fill(seen - drawn, there, reach)
    return torch.where(there, seen, seen + (right - seen).clamp(-leash, leash)).clamp(0, 1)


def _distance_to_known(there: Tensor) -> Tensor:
    """Pixels to the nearest pixel that is there, (1, 1, H, W)."""
    import cv2

    outside = (~there[0, 0]).to(torch.uint8).numpy()
    return torch.from_numpy(cv2.distanceTransform(outside, cv2.DIST_L2, 5))[None, None]
