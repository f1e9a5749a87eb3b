"""The mask of a page: strokes on a mask that was loaded or found."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from editkit import InvalidParameter, PaintedMask, Stroke

Levels = NDArray[np.uint8]
"""Mask (H, W): 255 where the image is marked."""

_MOST_STROKES = 2000
_MOST_POINTS = 20_000


def read_stroke(event: Mapping[str, Any]) -> Stroke:
    """Return the stroke that a browser sent; raises InvalidParameter for anything else."""
    try:
        points, size, softness = event["points"], event["size"], event["softness"]
        if len(points) > _MOST_POINTS:
            raise InvalidParameter(f"the stroke is too long: at most {_MOST_POINTS} points are allowed")
    except (KeyError, TypeError):
        raise InvalidParameter("the stroke is not allowed: it has no points") from None
    return Stroke(points, size, softness, bool(event.get("erase")))


@dc.dataclass(frozen=True)
class Drawing:
    """A mask: strokes on a base, in order; undoing one goes back to the drawing before."""

    strokes: tuple[Stroke, ...] = ()
    base: Levels | None = dc.field(default=None, compare=False, repr=False)
    """Mask below the strokes that was loaded or found."""
    inverted: bool = False
    """Whether marked and kept are exchanged at the end."""

    @property
    def is_empty(self) -> bool:
        """Whether there is no mask at all."""
        return not self.strokes and self.base is None and not self.inverted

    def with_stroke(self, stroke: Stroke) -> Drawing:
        """Return the drawing with one more stroke; on an inverted one, paint marks and the eraser unmarks as well."""
        if len(self.strokes) >= _MOST_STROKES:
            raise InvalidParameter(f"the mask has {_MOST_STROKES} strokes: no more are allowed")
        drawn = dc.replace(stroke, erase=stroke.erase != self.inverted)
        return dc.replace(self, strokes=(*self.strokes, drawn))

    def levels(self, size: tuple[int, int]) -> Levels:
        """Return the mask for an image of ``size`` (width, height)."""
        levels = PaintedMask(self.strokes).levels(size, self.base)
        return 255 - levels if self.inverted else levels

    def argument(self, size: tuple[int, int]) -> str | Image.Image:
        """Return the mask as an operation takes it: strokes, which the recipe then holds, or else an image."""
        painted = PaintedMask(self.strokes)
        if self.base is None and not self.inverted and painted.is_small(size):
            return str(painted)
        return Image.fromarray(self.levels(size))


class MaskView:
    """The mask of a page scaled down for the browser, in which one more stroke costs that stroke alone."""

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self._last: tuple[Drawing, tuple[int, int], Levels] | None = None
        """The latest drawing, the size of its image, and its strokes on its base, scaled down."""

    def levels(self, drawing: Drawing, size: tuple[int, int]) -> Levels:
        """Return the mask (H, W) of an image of ``size`` (width, height), its longest side at most ``longest``."""
        scale = min(1.0, self.longest / max(size))
        width, height = (max(1, round(side * scale)) for side in size)
        levels, strokes = self._start(drawing, size, (width, height))
        for stroke in strokes:
            points = tuple((x * scale, y * scale) for x, y in stroke.points)
            dc.replace(stroke, points=points, size=max(1.0, stroke.size * scale)).draw(levels)
        self._last = drawing, size, levels
        return 255 - levels if drawing.inverted else levels

    def _start(
        self, drawing: Drawing, size: tuple[int, int], scaled: tuple[int, int]
    ) -> tuple[Levels, tuple[Stroke, ...]]:
        """Return a mask that begins like a drawing, and the strokes that it lacks."""
        if self._last is not None:
            last, last_size, levels = self._last
            count = len(last.strokes)
            if last_size == size and last.base is drawing.base and drawing.strokes[:count] == last.strokes:
                return levels.copy(), drawing.strokes[count:]
        if drawing.base is None:
            return np.zeros(scaled[::-1], np.uint8), drawing.strokes
        base = Image.fromarray(drawing.base).resize(scaled, Image.Resampling.BOX)
        return np.array(base), drawing.strokes
