"""Inpainting with any model, and with those made for it."""

from __future__ import annotations

import torch
from torch import Tensor

from editkit import PixelEdit, Session, fill, paint, start_at, with_resampling

from . import InpaintParams

Box = tuple[slice, slice]
"""Rows and columns of a picture, in pixels."""


def inpaint(session: Session, params: InpaintParams) -> PixelEdit:
    """Draw the surroundings of the mask, or all of the picture, and lay what was drawn in its place."""
    assert session.mask is not None
    painted = session.pixels.clone()
    if bool(session.mask.any()):
        rows, columns = _mask_box(session.mask, params.context)
        part = session
        if params.context is not None:
            pixels, mask = session.pixels[..., rows, columns], session.mask[..., rows, columns]
            part = session.for_region(pixels, mask, longest=params.resolution)
        path = start_at(part.model.schedule, part.drawing_path(params.steps), params.strength)
        drawn = fill(part, with_resampling(path, params.resample), params.prompt, blank=params.strength == 1)
        painted[..., rows, columns] = paint(part, drawn)
    return PixelEdit(painted)


def _mask_box(mask: Tensor, context: float | None) -> Box:
    """The mask's bounding box, grown on every side by a share of its longer side and made as square as fits."""
    height, width = mask.shape[-2:]
    if context is None:
        return slice(0, height), slice(0, width)
    marked = torch.nonzero(mask[0, 0])
    (top, left), (bottom, right) = (marked.amin(0).tolist(), (marked.amax(0) + 1).tolist())
    side = round(max(bottom - top, right - left) * (1 + 2 * context))
    return _centred_slice(top, bottom, side, height), _centred_slice(left, right, side, width)


def _centred_slice(begin: int, end: int, length: int, most: int) -> slice:
    """``length`` pixels with the given ones in their middle, moved to lie between 0 and ``most``."""
    length = min(length, most)
    start = min(max(0, (begin + end - length) // 2), most - length)
    return slice(start, start + length)
