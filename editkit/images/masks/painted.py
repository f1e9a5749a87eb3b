"""Masks that are painted: strokes of a round brush as lines, drawn at the size of an image."""

from __future__ import annotations

import dataclasses as dc
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidParameter

Levels = NDArray[np.uint8]
"""Mask (H, W): 255 where the image is marked."""

MOST_CHARACTERS = 64_000
"""Length of a painted mask as text."""
_FARTHEST = 65_536.0
_LARGEST_BRUSH = 4096.0
_MOST_STROKES = 4000
_MOST_WORK = 2**30
"""Pixels of all windows together, of which a second computes a hundred million."""
_NUMBER = r"-?[0-9]{1,5}(?:\.[0-9]{1,2})?"
_POINTS = rf"{_NUMBER},{_NUMBER}(?:\+{_NUMBER},{_NUMBER})*"
_STROKE = re.compile(rf"(-?)([0-9]{{1,5}}(?:\.[0-9]{{1,2}})?)(?:/(0?\.[0-9]{{1,2}}|[01]))?@({_POINTS})")
_FORM = "write strokes:SIZE@X,Y+X,Y;SIZE/SOFTNESS@X,Y, with - before the SIZE of an eraser"


@dc.dataclass(frozen=True)
class Stroke:
    """Line of a round brush, in pixels of the image, to hundredths of them.

    Raises InvalidParameter for no points, and for numbers that are not finite or too large.
    """

    points: tuple[tuple[float, float], ...]
    """(x, y) from the left and the top; the centre of the first pixel is (0.5, 0.5)."""
    size: float
    """Diameter of the brush, at least 1."""
    softness: float = 0.0
    """Share of the radius over which the edge fades, 0 to 1."""
    erase: bool = False
    """Whether the stroke unmarks pixels."""

    def __post_init__(self) -> None:
        try:
            points = tuple((_hundredths(x), _hundredths(y)) for x, y in self.points)
            size, softness = _hundredths(self.size), _hundredths(self.softness)
            if not points or not 1 <= size <= _LARGEST_BRUSH or not 0 <= softness <= 1:
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            raise InvalidParameter(
                "the stroke is not allowed: give points (x, y), a size from 1 to 4096 and a softness from 0 to 1"
            ) from None
        for name, value in (("points", points), ("size", size), ("softness", softness), ("erase", bool(self.erase))):
            object.__setattr__(self, name, value)

    def __str__(self) -> str:
        points = "+".join(f"{x:g},{y:g}" for x, y in self.points)
        soft = f"/{self.softness:g}" if self.softness else ""
        return f"{'-' if self.erase else ''}{self.size:g}{soft}@{points}"

    def draw(self, levels: Levels) -> None:
        """Draw on a mask (H, W), in place; the same stroke twice changes no more than once."""
        window = _Window.of(self, levels.shape)
        if window is None:
            return
        share = _coverage(self, window)
        part = levels[window.box]
        levels[window.box] = np.minimum(part, 255 - share) if self.erase else np.maximum(part, share)


@dc.dataclass(frozen=True)
class PaintedMask:
    """Strokes in the order in which they are drawn."""

    strokes: tuple[Stroke, ...]

    @classmethod
    def parse(cls, value: Any) -> PaintedMask | None:
        """Return the painted mask in a text such as ``strokes:24@10,20+30,40;-12/0.5@25,30``; None if it is none.

        The first stroke has a diameter of 24 pixels and two points, the second erases and fades over half its radius.
        Raises InvalidParameter for a text that cannot be read.
        """
        if isinstance(value, cls):
            return value
        if not isinstance(value, str) or not value.startswith("strokes:"):
            return None
        if len(value) > MOST_CHARACTERS:
            raise InvalidParameter(f"mask: strokes of {len(value)} characters: at most {MOST_CHARACTERS} are allowed")
        parts = value.removeprefix("strokes:").split(";")
        if len(parts) > _MOST_STROKES:
            raise InvalidParameter(f"mask: it has {len(parts)} strokes, at most {_MOST_STROKES} are allowed")
        matches = [_STROKE.fullmatch(part.strip()) for part in parts]
        if not all(matches):
            raise InvalidParameter(f"mask={value[:60]!r} is not allowed: {_FORM}")
        return cls(tuple(_read_stroke(*match.groups()) for match in matches if match))

    def __str__(self) -> str:
        return f"strokes:{';'.join(map(str, self.strokes))}"

    def is_small(self, size: tuple[int, int]) -> bool:
        """Whether drawing for an image of ``size`` (width, height) takes seconds at most, and the text is not too long.

        Larger masks are passed as images: a recipe of a few kilobytes must not take minutes.
        """
        windows = [_Window.of(stroke, size[::-1]) for stroke in self.strokes]
        return sum(one.area for one in windows if one) <= _MOST_WORK and len(str(self)) <= MOST_CHARACTERS

    def levels(self, size: tuple[int, int], base: Levels | None = None) -> Levels:
        """Return the mask for an image of ``size`` (width, height), on a copy of ``base`` (H, W) if there is one."""
        levels = np.zeros(size[::-1], np.uint8) if base is None else base.copy()
        for stroke in self.strokes:
            stroke.draw(levels)
        return levels


class _Window(NamedTuple):
    """Pixels that a stroke may reach, and those of its line that count for them."""

    rows: slice
    columns: slice
    start: tuple[int, int]
    """(x, y) of the first pixel of a window that holds both."""
    stop: tuple[int, int]

    @classmethod
    def of(cls, stroke: Stroke, shape: Sequence[int]) -> Self | None:
        """Return the window of a stroke on a mask of ``shape`` (H, W); None if the stroke lies outside."""
        line, reach = np.floor(np.array(stroke.points)).astype(int), int(stroke.size / 2) + 2
        low, high = line.min(0), line.max(0) + 1
        (left, top), (right, bottom) = np.maximum(low - reach, 0), np.minimum(high + reach, shape[1::-1])
        if right <= left or bottom <= top:
            return None
        # Pixels of the line beyond the mask count too, none farther than the brush reaches.
        start = min(left, max(left - reach, low[0])), min(top, max(top - reach, low[1]))
        stop = max(right, min(right + reach, high[0])), max(bottom, min(bottom + reach, high[1]))
        rows, columns = slice(int(top), int(bottom)), slice(int(left), int(right))
        return cls(rows, columns, (int(start[0]), int(start[1])), (int(stop[0]), int(stop[1])))

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns within the mask."""
        return self.rows, self.columns

    @property
    def area(self) -> int:
        """Pixels of the window."""
        return (self.stop[0] - self.start[0]) * (self.stop[1] - self.start[1])


def _read_stroke(erase: str, size: str, softness: str | None, points: str) -> Stroke:
    pairs = [point.split(",") for point in points.split("+")]
    return Stroke(tuple((float(x), float(y)) for x, y in pairs), float(size), float(softness or 0), bool(erase))


def _hundredths(value: Any) -> float:
    """Return a number as it is written in a text."""
    number = round(float(value), 2)
    if not abs(number) < _FARTHEST:
        raise ValueError
    return number


def _coverage(stroke: Stroke, window: _Window) -> Levels:
    """Return the share, 0 to 255, by which a stroke covers each pixel of a box: 255 within the core of the brush.

    The distance is that of pixel centres to the nearest pixel of the line.
    """
    import cv2  # takes a tenth of a second to import, and few masks are painted

    (left, top), (right, bottom) = window.start, window.stop
    away = np.full((bottom - top, right - left), 255, np.uint8)
    line = np.floor(np.array(stroke.points)).astype(np.int32) - np.array(window.start, np.int32)
    ends = line if len(line) > 1 else np.repeat(line, 2, axis=0)  # OpenCV draws no line of a single point
    cv2.polylines(away, [ends.reshape(-1, 1, 2)], isClosed=False, color=0)
    part = (
        slice(window.rows.start - top, window.rows.stop - top),
        slice(window.columns.start - left, window.columns.stop - left),
    )
    distance = cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[part]
    radius = stroke.size / 2
    fade = radius * stroke.softness
    if fade < 1:
        return np.where(distance <= radius - 0.5, 255, 0).astype(np.uint8)
    shares: Levels = np.rint(255 * np.clip((radius - distance) / fade, 0, 1)).astype(np.uint8)
    return shares
