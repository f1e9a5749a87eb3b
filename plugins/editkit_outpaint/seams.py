"""Invisible seams: new pixels continue the border of pixels that must not change.

All images are (1, 3, H, W) in [0, 1]; ``known_mask`` (1, 1, H, W) is True for pixels that must not change.
"""

from __future__ import annotations

import torch
from torch import Tensor

from editkit import mean_of_neighbours, pull_push_fill

_COLOUR_SLOPE = 6 / 255
"""Rate at which new pixels may depart from the border's colours, per squared pixel of distance."""


def typical_jump(pixels: Tensor) -> float:
    """Mean difference between neighbouring columns or rows, whichever is less; 0 for a single pixel."""
    jumps = [float(pixels.diff(dim=dim).abs().mean()) for dim in (2, 3) if pixels.shape[dim] > 1]
    return min(jumps, default=0.0)


def extend_border(pixels: Tensor, known_mask: Tensor) -> Tensor:
    """Known pixels with their border continued outward: one pixel unchanged, then ever smoother."""
    share = mean_of_neighbours(known_mask.to(pixels))
    first = ~known_mask & (share > 0)
    border = mean_of_neighbours(pixels * known_mask) / share.clamp(min=0.25)
    return pull_push_fill(torch.where(first, border, pixels), known_mask | first)


def blend_at_border(sampled: Tensor, extended: Tensor, known_mask: Tensor, max_jump: float, reach: float) -> Tensor:
    """Place sampled pixels beside known ones.

    The difference at the border is subtracted and fades over ``reach`` pixels. Then every pixel is clamped to a range
    around ``extended``, the continued border, that grows with its distance: ``max_jump`` at the border, any value a few
    pixels on.
    """
    distance = _distance_to_known(known_mask)
    limit = max_jump * distance + _COLOUR_SLOPE * (distance - 1).clamp(min=0) ** 2
    corrected = sampled + pull_push_fill(extended - sampled, known_mask, reach)
    return torch.where(known_mask, extended, extended + (corrected - extended).clamp(-limit, limit)).clamp(0, 1)


def _distance_to_known(known_mask: Tensor) -> Tensor:
    """Distance in pixels to the nearest known pixel, (1, 1, H, W)."""
    import cv2

    outside = (~known_mask[0, 0]).to(torch.uint8).numpy()
    return torch.from_numpy(cv2.distanceTransform(outside, cv2.DIST_L2, 5))[None, None]
