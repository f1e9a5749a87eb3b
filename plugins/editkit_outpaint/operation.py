"""Extension of an image window by window, each sampled to continue the pixels inside it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F

from editkit import Edit, PixelEdit, Session, fill, paint, with_resampling

from . import OutpaintParams, result_size
from .seams import blend_at_border, extend_border, typical_jump

_FADE_SHARE = 1 / 8
"""Share of a window's side over which the difference at a border fades."""

_NARROW = 1 / 16
"""Width of the widest margin at the model's scale, as a share of the native size, below which it has no detail."""

Extent = tuple[int, int]
"""Begin and end on one axis, in pixels of the result."""


def outpaint(session: Session, params: OutpaintParams) -> PixelEdit:
    """Extend the source sideways first, then the full width of the result upward and downward."""
    width, height = session.canvas.size
    size = result_size(params, (width, height))
    if size == (width, height):
        session.usage.warn("outpaint adds nothing: left, right, top and bottom are all 0; give at least one of them")
    canvas = _GrowingCanvas(session, params)
    side = _window_side(session, size, params.resolution)
    _warn_of_narrow_margins(session, params, side)
    for across in _outward_windows((params.left, params.left + width), size[0], side):
        for down in _covering_windows((params.top, params.top + height), size[1], side):
            canvas.fill(down, across, side)
    for down in _outward_windows(canvas.complete_rows(), size[1], side):
        for across in _covering_windows((0, size[0]), size[0], side):
            canvas.fill(down, across, side)
    return PixelEdit(canvas.pixels, place=(params.left, params.top))


class _GrowingCanvas:
    """An image of the result's size, and the mask of its pixels that are filled."""

    def __init__(self, session: Session, params: OutpaintParams) -> None:
        margins = (params.left, params.right, params.top, params.bottom)
        self.session, self.params = session, params
        self.pixels = F.pad(session.pixels, margins)
        self.filled = F.pad(torch.ones_like(session.pixels[:, :1]), margins) > 0
        self.max_jump = typical_jump(session.pixels)

    def fill(self, down: Extent, across: Extent, side: int) -> None:
        """Fill the empty pixels of a window, at the scale that maps a square of ``side`` to the model's native size."""
        window = (..., slice(*down), slice(*across))
        known_mask = self.filled[window].clone()
        if bool(known_mask.all()):
            return
        extended = extend_border(self.pixels[window], known_mask)
        longest = max(1, round(self.session.model.native_size * max(extended.shape[-2:]) / side))
        region = self.session.for_region(extended, (~known_mask).to(extended), longest=longest)
        region.erased = True  # beside the known pixels there is only their continued border
        path = with_resampling(region.drawing_path(self.params.steps), self.params.resample)
        # New pixels have no source whose detail could be carried over: the decoded image is used as it is.
        sampled = paint(region, Edit(fill(region, path, self.params.prompt).latents))
        self.pixels[window] = blend_at_border(sampled, extended, known_mask, self.max_jump, side * _FADE_SHARE)
        self.filled[window] = True

    def complete_rows(self) -> Extent:
        """Extent of the rows that are filled over the full width of the result."""
        rows = torch.nonzero(self.filled[0, 0].all(1))
        return int(rows.min()), int(rows.max()) + 1


def _window_side(session: Session, size: tuple[int, int], resolution: int | None) -> int:
    """Side in pixels of the square window that the model samples at once, for a result of ``size``.

    The window covers the whole result up to twice the source, for context, and is at least the model's native size, so
    that small images are not enlarged. A ``resolution`` sets it directly.
    """
    native, longest = session.model.native_size, max(session.canvas.size)
    if resolution is not None:
        return max(2, round(longest * native / resolution))
    return max(2, min(max(size), max(2 * longest, native)))


def _warn_of_narrow_margins(session: Session, params: OutpaintParams, side: int) -> None:
    """Warn if the model samples even the widest margin at few pixels of a reduced image."""
    widest, native = max(params.left, params.right, params.top, params.bottom), session.model.native_size
    scale = native / side
    if 0 < widest * scale < native * _NARROW and scale < 1:
        needed = math.ceil(max(session.canvas.size) * native * _NARROW / widest)
        session.usage.warn(
            f"the widest added part is {widest} pixels, which are {widest * scale:.1f} at the scale the model works "
            f"at: it continues the border, without detail; a resolution= of {needed} or more draws it larger"
        )


def _outward_windows(filled: Extent, most: int, side: int) -> Iterator[Extent]:
    """Yield windows from ``filled`` to 0 and then to ``most``, each at least half filled by the ones before it."""
    begin, end = filled
    while begin > 0:
        begin -= _stride(begin, side)
        window = max(0, min(begin, most - side)), min(begin + side, most)
        begin, end = window[0], max(end, window[1])
        yield window
    while end < most:
        end += _stride(most - end, side)
        yield max(0, end - side), end


def _stride(amount: int, side: int) -> int:
    """First of the fewest equal shares of an amount that are no larger than half a side."""
    return math.ceil(amount / math.ceil(amount / (side // 2)))


def _covering_windows(target: Extent, most: int, side: int) -> list[Extent]:
    """Windows that cover ``target`` and overlap by half or more, sorted from the middle outward."""
    begin, end = target
    length = min(side, most)
    room = end - begin - length
    if room <= 0:
        start = min(max(0, (begin + end - length) // 2), most - length)
        return [(start, start + length)]
    count = math.ceil(room / (side // 2)) + 1
    starts = [begin + round(i * room / (count - 1)) for i in range(count)]
    return [(start, start + length) for start in sorted(starts, key=lambda start: abs(start - begin - room / 2))]
