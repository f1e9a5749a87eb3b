"""Back-projection: correct an enlarged image so that, averaged down again, it equals its source."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .tiles import Box

_CORRECTIONS = 8
"""Corrections by smooth enlargements, before the last one, which shifts each average alone."""
_BLOCK = 256
"""Side in source pixels of the blocks that are corrected one at a time, to bound memory."""
_MARGIN = 3
"""Source pixels around a block on which its bicubic enlargement depends."""
_TOLERANCE = 1e-4
"""Largest error of an average that is left, for pixels in [0, 1]."""


def enlarge_box(pixels: Tensor, scale: int, box: Box) -> Tensor:
    """Bicubic enlargement (1, 3, height, width) of one box of the larger image; the border is repeated outward."""
    top, left = box.top // scale - _MARGIN, box.left // scale - _MARGIN
    bottom, right = -(-(box.top + box.height) // scale) + _MARGIN, -(-(box.left + box.width) // scale) + _MARGIN
    crop = crop_padded(pixels, Box(top, left, bottom - top, right - left))
    size = (crop.shape[-2] * scale, crop.shape[-1] * scale)
    enlarged = F.interpolate(crop, size, mode="bicubic", antialias=True, align_corners=False)
    row, column = box.top - top * scale, box.left - left * scale
    return enlarged[..., row : row + box.height, column : column + box.width]


def enlarge(pixels: Tensor, scale: int) -> Tensor:
    """Bicubic enlargement (1, 3, scale H, scale W) of an image (1, 3, H, W), block by block."""
    height, width = pixels.shape[-2:]
    larger = pixels.new_empty((1, 3, height * scale, width * scale))
    for block in _blocks(height, width):
        view_box(larger, block.times(scale)).copy_(enlarge_box(pixels, scale, block.times(scale)))
    return larger


def crop_padded(pixels: Tensor, box: Box) -> Tensor:
    """A box (1, 3, height, width) of an image; outside the image its border is repeated."""
    rows = torch.arange(box.top, box.top + box.height, device=pixels.device).clamp(0, pixels.shape[-2] - 1)
    columns = torch.arange(box.left, box.left + box.width, device=pixels.device).clamp(0, pixels.shape[-1] - 1)
    return pixels[..., rows[:, None], columns]


def back_project(larger: Tensor, pixels: Tensor, scale: int) -> None:
    """Correct ``larger`` (1, 3, scale H, scale W) in place until its averages are ``pixels`` (1, 3, H, W).

    An average covers scale x scale pixels. The errors of the averages are enlarged and added, as in iterated
    back-projection (Irani & Peleg, 1991); the rest, and the loss by clipping to [0, 1], is then corrected within each
    average alone. That always succeeds, since the averages lie in [0, 1] themselves.
    """
    blocks = list(_blocks(pixels.shape[-2], pixels.shape[-1]))
    for _ in range(_CORRECTIONS):
        error = pixels - F.avg_pool2d(larger, scale)
        for block in blocks:
            view_box(larger, block.times(scale)).add_(enlarge_box(error, scale, block.times(scale))).clamp_(0, 1)
    for block in blocks:
        view = view_box(larger, block.times(scale))
        view.copy_(_shift_averages(view, view_box(pixels, block), scale))


def _blocks(height: int, width: int) -> list[Box]:
    """Adjacent boxes that cover an image."""
    return [
        Box(top, left, min(_BLOCK, height - top), min(_BLOCK, width - left))
        for top in range(0, height, _BLOCK)
        for left in range(0, width, _BLOCK)
    ]


def view_box(pixels: Tensor, box: Box) -> Tensor:
    """View of a box that lies within the image."""
    return pixels[..., box.top : box.top + box.height, box.left : box.left + box.width]


def _shift_averages(larger: Tensor, pixels: Tensor, scale: int) -> Tensor:
    """Shift the pixels under each average equally, within [0, 1], until the averages are ``pixels``."""
    # Each round either converges or brings one more pixel under an average to its bound.
    for _ in range(scale**2):
        error = pixels - F.avg_pool2d(larger, scale)
        if float(error.abs().max()) <= _TOLERANCE:
            break
        error = F.interpolate(error, scale_factor=scale)
        free = torch.where(error > 0, larger < 1, larger > 0).to(larger)
        share = F.interpolate(F.avg_pool2d(free, scale), scale_factor=scale)
        larger = (larger + free * error / share.clamp(min=1e-6)).clamp(0, 1)
    return larger
