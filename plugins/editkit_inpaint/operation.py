"""Inpainting, with any model and with inpainting models."""

from __future__ import annotations

import torch
from torch import Tensor

from editkit import PixelEdit, Session, fill, paint, start_at, with_resampling

from . import InpaintParams

Box = tuple[slice, slice]
"""Rows and columns of an image, in pixels."""


def inpaint(session: Session, params: InpaintParams) -> PixelEdit:
    """Fill the mask within its surroundings, or within the whole image, and paste the result in place."""
    assert session.mask is not None
    pixels = session.pixels.clone()
    if bool(session.mask.any()):
        rows, columns = _mask_box(session.mask, params.context)
        region = session
        if params.context is not None:
            crop, mask = session.pixels[..., rows, columns], session.mask[..., rows, columns]
            region = session.for_region(crop, mask, longest=params.resolution)
        path = start_at(region.model.schedule, region.drawing_path(params.steps), params.strength)
        edit = fill(region, with_resampling(path, params.resample), params.prompt, blank=params.strength == 1)
        pixels[..., rows, columns] = paint(region, edit)
    return PixelEdit(pixels)


def _mask_box(mask: Tensor, context: float | None) -> Box:
    """Bounding box of the mask, grown on every side by a share of its longer side and squared as far as it fits."""
    height, width = mask.shape[-2:]
    if context is None:
        return slice(0, height), slice(0, width)
    marked = torch.nonzero(mask[0, 0])
    (top, left), (bottom, right) = (marked.amin(0).tolist(), (marked.amax(0) + 1).tolist())
    side = round(max(bottom - top, right - left) * (1 + 2 * context))
    return _centred_slice(top, bottom, side, height), _centred_slice(left, right, side, width)


def _centred_slice(begin: int, end: int, length: int, most: int) -> slice:
    """Slice of ``length`` pixels centred on ``begin`` to ``end`` and shifted to lie between 0 and ``most``."""
    length = min(length, most)
    start = min(max(0, (begin + end - length) // 2), most - length)
    return slice(start, start + length)
