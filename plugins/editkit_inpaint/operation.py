"""Inpainting, with any model and with inpainting models."""

from __future__ import annotations

from torch import Tensor

from editkit import Box, PixelEdit, Session, fill, marked_box, paint, start_at, with_resampling

from . import InpaintParams

_SMALL_SHARE = 1 / 4
"""Longest side of a mask at the model's scale, as a share of its native size, below which its surroundings suffice."""
_CONTEXT = 0.5
"""Context of a small mask."""
_MOST_CONTEXT = 100.0


def inpaint(session: Session, params: InpaintParams) -> PixelEdit:
    """Fill the mask within its surroundings, or within the whole image, and paste the result in place."""
    assert session.mask is not None
    pixels, box = session.pixels.clone(), marked_box(session.mask)
    if box is None:
        return PixelEdit(pixels)
    context = _choose_context(session, box) if params.context is None else params.context
    session.params = params = params.model_copy(update={"context": context})
    region, rows, columns = session, slice(None), slice(None)
    if context > 0:
        rows, columns = _surroundings(box, context, session.mask)
        crop, mask = session.pixels[..., rows, columns], session.mask[..., rows, columns]
        region = session.for_region(crop, mask, longest=params.resolution, place=(columns.start, rows.start))
    path = start_at(region.model.schedule, region.drawing_path(params.steps), params.strength)
    edit = fill(region, with_resampling(path, params.resample), params.prompt, blank=params.strength == 1)
    pixels[..., rows, columns] = paint(region, edit).clamp(0, 1)  # matched colours may leave the range
    return PixelEdit(pixels, kept=0.0 if params.strength == 1 else 1.0)


def _choose_context(session: Session, box: Box) -> float:
    """Return the context of a mask that is small at the model's scale, and 0, the whole image, of every other.

    The surroundings hold at least as many pixels as the model works on.
    """
    native = session.model.native_size
    if session.canvas.scale >= 1 or box.side * session.canvas.scale >= native * _SMALL_SHARE:
        return 0.0
    return min(max(_CONTEXT, round((native / box.side - 1) / 2, 4)), _MOST_CONTEXT)


def _surroundings(box: Box, context: float, mask: Tensor) -> tuple[slice, slice]:
    """Rows and columns of a box grown on every side by a share of its longer side and squared as far as it fits."""
    height, width = mask.shape[-2:]
    side = round(box.side * (1 + 2 * context))
    return _centred_slice(box.top, box.bottom, side, height), _centred_slice(box.left, box.right, side, width)


def _centred_slice(begin: int, end: int, length: int, most: int) -> slice:
    """Slice of ``length`` pixels centred on ``begin`` to ``end`` and shifted to lie between 0 and ``most``."""
    length = min(length, most)
    start = min(max(0, (begin + end - length) // 2), most - length)
    return slice(start, start + length)
