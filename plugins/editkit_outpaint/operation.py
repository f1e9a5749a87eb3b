"""Growing a picture window by window, each drawn to fit what is there already."""

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

Extent = tuple[int, int]
"""From and to on one axis, in pixels of the result."""


def outpaint(session: Session, params: OutpaintParams) -> PixelEdit:
    """Draw outward from the source: first beside it, then above and below all that is there by then."""
    width, height = session.canvas.size
    size = result_size(params, (width, height))
    growing = _GrowingCanvas(session, params)
    side = _window_side(session, size, params.resolution)
    for across in _outward_windows((params.left, params.left + width), size[0], side):
        for down in _covering_windows((params.top, params.top + height), size[1], side):
            growing.draw(down, across, side)
    for down in _outward_windows(growing.whole_rows(), size[1], side):
        for across in _covering_windows((0, size[0]), size[0], side):
            growing.draw(down, across, side)
    return PixelEdit(growing.pixels, place=(params.left, params.top))


class _GrowingCanvas:
    """An image of the result's size, and where it is still empty."""

    def __init__(self, session: Session, params: OutpaintParams) -> None:
        margins = (params.left, params.right, params.top, params.bottom)
        self.session, self.params = session, params
        self.pixels = F.pad(session.pixels, margins)
        self.there = F.pad(torch.ones_like(session.pixels[:, :1]), margins) > 0
        self.calm = typical_jump(session.pixels)

    def draw(self, down: Extent, across: Extent, side: int) -> None:
        """Draw what is empty in a window, which the model sees as a part of its native size of a square of ``side``."""
        window = (..., slice(*down), slice(*across))
        there = self.there[window].clone()
        if bool(there.all()):
            return
        seen = extend_border(self.pixels[window], there)
        longest = max(1, round(self.session.model.native_size * max(seen.shape[-2:]) / side))
        part = self.session.for_region(seen, (~there).to(seen), longest=longest)
        path = with_resampling(part.drawing_path(self.params.steps), self.params.resample)
        # Beyond the border there is no detail to be carried: the picture is what the model decodes.
        drawn = paint(part, Edit(fill(part, path, self.params.prompt).latents))
        self.pixels[window] = blend_at_border(drawn, seen, there, self.calm, side * _FADE_SHARE)
        self.there[window] = True

    def whole_rows(self) -> Extent:
        """The rows that are there from one side of the result to the other."""
        rows = torch.nonzero(self.there[0, 0].all(1))
        return int(rows.min()), int(rows.max()) + 1


def _window_side(session: Session, size: tuple[int, int], resolution: int | None) -> int:
    """Pixels of the square that the model sees at once, of a result of ``size``.

    It is all of the result up to twice the source, so that what is drawn belongs to what is there; and no less than
    the model's native size, so that little is not enlarged. With a resolution it is what that says.
    """
    native, longest = session.model.native_size, max(session.canvas.size)
    if resolution is not None:
        return max(2, round(longest * native / resolution))
    return max(2, min(max(size), max(2 * longest, native)))


def _outward_windows(there: Extent, most: int, side: int) -> Iterator[Extent]:
    """Windows that lead from ``there`` to 0 and then to ``most``; half of each or more is there when its turn comes."""
    begin, end = there
    while begin > 0:
        begin -= _first_share(begin, side)
        window = max(0, min(begin, most - side)), min(begin + side, most)
        begin, end = window[0], max(end, window[1])
        yield window
    while end < most:
        end += _first_share(most - end, side)
        yield max(0, end - side), end


def _first_share(amount: int, side: int) -> int:
    """The first of as few equal shares of an amount as are no larger than half a side."""
    return math.ceil(amount / math.ceil(amount / (side // 2)))


def _covering_windows(there: Extent, most: int, side: int) -> list[Extent]:
    """Windows that cover ``there`` and overlap by half or more, those in the middle first."""
    begin, end = there
    length = min(side, most)
    room = end - begin - length
    if room <= 0:
        start = min(max(0, (begin + end - length) // 2), most - length)
        return [(start, start + length)]
    count = math.ceil(room / (side // 2)) + 1
    starts = [begin + round(i * room / (count - 1)) for i in range(count)]
    return [(start, start + length) for start in sorted(starts, key=lambda start: abs(start - begin - room / 2))]
