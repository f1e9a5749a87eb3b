"""Masks as they are painted: strokes as lines, on a mask that was loaded or found, drawn at the size of the image."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from editkit import InvalidParameter

Levels = NDArray[np.uint8]
"""Mask (H, W): 255 where the image is marked."""

_MOST_STROKES = 2000
_MOST_POINTS = 20_000
_LARGEST = 16_384.0


@dc.dataclass(frozen=True)
class Stroke:
    """Line of a round brush, in pixels of the image."""

    points: tuple[tuple[float, float], ...]
    """(x, y) from the left and the top; the centre of the first pixel is (0.5, 0.5)."""
    size: float
    """Diameter of the brush."""
    softness: float = 0.0
    """Share of the radius over which the edge fades, 0 to 1."""
    erase: bool = False
    """Whether the stroke unmarks pixels."""

    @classmethod
    def read(cls, event: Mapping[str, Any]) -> Stroke:
        """Return the stroke that a browser sent; raises InvalidParameter for anything else."""
        try:
            points = [(float(x), float(y)) for x, y in event["points"]][: _MOST_POINTS + 1]
            numbers = np.array([*np.ravel(points), float(event["size"]), float(event["softness"])])
            if not points or len(points) > _MOST_POINTS or not (np.abs(numbers) <= 4 * _LARGEST).all():
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise InvalidParameter("the stroke is not allowed: it has no points, or too many") from None
        size, softness = np.clip(numbers[-2], 1.0, _LARGEST), np.clip(numbers[-1], 0.0, 1.0)
        return cls(tuple(points), float(size), float(softness), bool(event.get("erase")))


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
            raise InvalidParameter(
                f"the mask has {_MOST_STROKES} strokes, the most that are allowed: invert or load one"
            )
        drawn = dc.replace(stroke, erase=stroke.erase != self.inverted)
        return dc.replace(self, strokes=(*self.strokes, drawn))

    def levels(self, size: tuple[int, int]) -> Levels:
        """Return the mask for an image of ``size`` (width, height)."""
        width, height = size
        levels = np.zeros((height, width), np.uint8) if self.base is None else self.base.copy()
        for stroke in self.strokes:
            _draw(levels, stroke)
        return 255 - levels if self.inverted else levels


def _draw(levels: Levels, stroke: Stroke) -> None:
    """Draw a stroke on a mask (H, W), in place; the same stroke twice changes no more than once."""
    box = _box(stroke, levels.shape)
    if box is None:
        return
    rows, columns = box
    share = _coverage(stroke, rows, columns)
    part = levels[rows, columns]
    levels[rows, columns] = np.minimum(part, 255 - share) if stroke.erase else np.maximum(part, share)


def _box(stroke: Stroke, shape: Sequence[int]) -> tuple[slice, slice] | None:
    """Return the rows and columns that a stroke may reach; None if it lies outside."""
    points = np.array(stroke.points)
    low, high = points.min(0) - stroke.size / 2 - 1, points.max(0) + stroke.size / 2 + 2
    left, top = (max(0, int(one)) for one in np.floor(low))
    right, bottom = (min(most, int(one)) for one, most in zip(np.ceil(high), (shape[1], shape[0]), strict=True))
    return (slice(top, bottom), slice(left, right)) if right > left and bottom > top else None


def _coverage(stroke: Stroke, rows: slice, columns: slice) -> Levels:
    """Return the share, 0 to 255, by which a stroke covers each pixel of a box: 255 within the core of the brush.

    The distance from the line is that of pixel centres, to the nearest pixel of it. The line may leave the box.
    """
    radius = stroke.size / 2
    margin = int(radius) + 2  # pixels of the line outside the box count too
    offset = np.array([columns.start - margin, rows.start - margin])
    shape = rows.stop - rows.start + 2 * margin, columns.stop - columns.start + 2 * margin
    away = np.full(shape, 255, np.uint8)
    line = np.floor(np.array(stroke.points) - offset).astype(np.int32)
    cv2.polylines(away, [line.reshape(-1, 1, 2)], isClosed=False, color=0)
    distance = cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[margin:-margin, margin:-margin]
    fade = radius * stroke.softness
    if fade < 1:
        return np.where(distance <= radius - 0.5, 255, 0).astype(np.uint8)
    shares: Levels = np.rint(255 * np.clip((radius - distance) / fade, 0, 1)).astype(np.uint8)
    return shares
