"""What a larger picture must agree with: averaged down again, it is the picture it was made of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .tiles import Box

_CORRECTIONS = 8
"""Corrections that are spread smoothly, before the last one that is not."""
BLOCK = 256
"""Side in source pixels of the parts that are corrected at a time, so that memory does not grow with the picture."""
_MARGIN = 3
"""Source pixels around a part that its enlargement can depend on."""
_TOLERANCE = 1e-4
"""Largest miss of an average that is left, in the units of pixels in [0, 1]."""


def enlarge_box(pixels: Tensor, scale: int, box: Box) -> Tensor:
    """The bicubic enlargement (1, 3, height, width) of one box of the larger picture, the border repeated outward."""
    top, left = box.top // scale - _MARGIN, box.left // scale - _MARGIN
    bottom, right = -(-(box.top + box.height) // scale) + _MARGIN, -(-(box.left + box.width) // scale) + _MARGIN
    near = crop_padded(pixels, Box(top, left, bottom - top, right - left))
    size = (near.shape[-2] * scale, near.shape[-1] * scale)
    grown = F.interpolate(near, size, mode="bicubic", antialias=True, align_corners=False)
    row, column = box.top - top * scale, box.left - left * scale
    return grown[..., row : row + box.height, column : column + box.width]


def enlarge(pixels: Tensor, scale: int) -> Tensor:
    """The bicubic enlargement (1, 3, scale H, scale W) of a picture (1, 3, H, W), part by part."""
    height, width = pixels.shape[-2:]
    larger = pixels.new_empty((1, 3, height * scale, width * scale))
    for part in _blocks(height, width):
        view_box(larger, part.times(scale)).copy_(enlarge_box(pixels, scale, part.times(scale)))
    return larger


def crop_padded(pixels: Tensor, box: Box) -> Tensor:
    """A box (1, 3, height, width) of a picture; beyond the picture its border is repeated."""
    rows = torch.arange(box.top, box.top + box.height).clamp(0, pixels.shape[-2] - 1)
    columns = torch.arange(box.left, box.left + box.width).clamp(0, pixels.shape[-1] - 1)
    return pixels[..., rows[:, None], columns]


def back_project(larger: Tensor, pixels: Tensor, scale: int) -> None:
    """Correct ``larger`` (1, 3, scale H, scale W) in place until its averages are ``pixels`` (1, 3, H, W).

    An average is that of scale x scale pixels. What they miss is added in the enlargement of the picture, as in
    iterated back-projection (Irani & Peleg, 1991); the little that remains, and what clipping to [0, 1] takes away, is
    then made up within each average alone. It always can be, as the averages are in [0, 1] themselves.
    """
    parts = list(_blocks(pixels.shape[-2], pixels.shape[-1]))
    for _ in range(_CORRECTIONS):
        missed = pixels - F.avg_pool2d(larger, scale)
        for part in parts:
            view_box(larger, part.times(scale)).add_(enlarge_box(missed, scale, part.times(scale))).clamp_(0, 1)
    for part in parts:
        here = view_box(larger, part.times(scale))
        here.copy_(_shift_averages(here, view_box(pixels, part), scale))


def _blocks(height: int, width: int) -> list[Box]:
    """Boxes side by side that make up a picture."""
    return [
        Box(top, left, min(BLOCK, height - top), min(BLOCK, width - left))
        for top in range(0, height, BLOCK)
        for left in range(0, width, BLOCK)
    ]


def view_box(pixels: Tensor, box: Box) -> Tensor:
    """The view of a box that lies within the picture."""
    return pixels[..., box.top : box.top + box.height, box.left : box.left + box.width]


def _shift_averages(larger: Tensor, pixels: Tensor, scale: int) -> Tensor:
    """Shift the pixels under each average alike, but within [0, 1], until the averages are ``pixels``."""
    # Each round either arrives or brings one more pixel under an average to its bound.
    for _ in range(scale**2):
        missed = pixels - F.avg_pool2d(larger, scale)
        if float(missed.abs().max()) <= _TOLERANCE:
            break
        missed = F.interpolate(missed, scale_factor=scale)
        free = torch.where(missed > 0, larger < 1, larger > 0).to(larger)
        share = F.interpolate(F.avg_pool2d(free, scale), scale_factor=scale)
        larger = (larger + free * missed / share.clamp(min=1e-6)).clamp(0, 1)
    return larger
