"""Frames as GIF and APNG store them, and the images that viewers show of them.

Pillow composes them otherwise: the ground of a GIF without a transparent colour becomes a colour of its palette, frames
of an APNG are blended without regard to the alpha below, and those that restore the image before stay visible.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from ...errors import BadImage
from ..sources import format_size
from ..stored.image import Levels


class Disposal(enum.Enum):
    """Treatment of the place of a frame before the next one is drawn."""

    KEEP = enum.auto()
    CLEAR = enum.auto()
    """It becomes transparent."""
    RESTORE = enum.auto()
    """It becomes what it was before the frame; of the first one transparent."""


class Part(NamedTuple):
    """A frame as it is stored, which may cover a part of the image."""

    data: bytes
    """File of this part alone."""
    corner: tuple[int, int]
    """(left, top) in the image."""
    size: tuple[int, int]
    """(width, height)."""
    milliseconds: float
    """Time for which it is shown."""
    disposal: Disposal
    covers: bool = False
    """Whether it replaces what is below it, alpha included, and is not laid over it."""


def compose(
    parts: Iterable[Part], size: tuple[int, int], decode: Callable[[Part], Levels], name: str
) -> Iterator[Levels]:
    """Yield the image (H, W, 4) that is shown of each part, of straight alpha; at the begin all is transparent.

    ``decode`` returns the levels (h, w, 3 or 4) of a part. Raises BadImage, which begins with ``name``, for a part that
    does not lie in an image of ``size`` (width, height).
    """
    canvas: Levels | None = None
    for part in parts:
        _check_inside(part, size, name)
        levels = decode(part)
        is_first = canvas is None
        canvas = np.zeros((*size[::-1], 4), levels.dtype) if canvas is None else canvas
        (left, top), (width, height) = part.corner, part.size
        place = np.s_[top : top + height, left : left + width]
        before = canvas[place].copy()
        canvas[place] = _lay(levels, before, covers=part.covers)
        yield canvas.copy()
        if part.disposal is Disposal.CLEAR or (part.disposal is Disposal.RESTORE and is_first):
            canvas[place] = 0
        elif part.disposal is Disposal.RESTORE:
            canvas[place] = before


def _check_inside(part: Part, size: tuple[int, int], name: str) -> None:
    (left, top), (width, height) = part.corner, part.size
    if left + width > size[0] or top + height > size[1]:
        raise BadImage(
            f"{name} has frames of {format_size(size)} and {format_size((left + width, top + height))} pixels: save it "
            "anew"
        )


def _lay(levels: Levels, below: Levels, *, covers: bool) -> Levels:
    """Lay levels (h, w, 3 or 4) over others (h, w, 4)."""
    maximum = int(np.iinfo(levels.dtype).max)
    if levels.shape[2] == 3:
        return np.dstack([levels, np.full(levels.shape[:2], maximum, levels.dtype)])
    alpha = levels[..., 3:]
    if covers or (alpha == maximum).all():
        return levels
    if ((alpha == 0) | (alpha == maximum)).all():
        return np.where(alpha == 0, below, levels)
    over, under = alpha.astype(np.float64) / maximum, below[..., 3:].astype(np.float64) / maximum
    result = over + under * (1 - over)
    colours = levels[..., :3] * over + below[..., :3] * under * (1 - over)
    straight = colours / np.where(result > 0, result, 1)
    laid: Levels = np.rint(np.dstack([straight, result * maximum])).astype(levels.dtype)
    return laid
