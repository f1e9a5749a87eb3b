"""Masks that are specified by words or by points in place of pixels; a segmenter finds them."""

from __future__ import annotations

import dataclasses as dc
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import InvalidParameter, PluginFailure
from ...registry.calls import entries_of
from ...registry.params import shorten

Place = tuple[int, int]
"""Column and row of a pixel, from the left and from the top."""
_POINT = re.compile(r"([+-]?)([0-9]{1,6}),([0-9]{1,6})")
_FORM = "write words:the hat, or points:X,Y+X,Y-X,Y with + for points inside and - for points outside"


@dc.dataclass(frozen=True)
class MaskSpecification:
    """Part of an image that a segmenter finds: named by words, or clicked at as points (x, y) in pixels.

    Raises InvalidParameter unless it has words or points inside, and not both.
    """

    words: str = ""
    inside: tuple[Place, ...] = ()
    """Points of the part."""
    outside: tuple[Place, ...] = ()
    """Points that are no part of it."""

    def __post_init__(self) -> None:
        for name in ("inside", "outside"):
            object.__setattr__(self, name, tuple(_place(point) for point in getattr(self, name)))
        if not isinstance(self.words, str) or bool(self.words.strip()) == bool(self.inside):
            raise InvalidParameter(f"mask={str(self)!r} is not allowed: give either words, or points inside")
        if self.words and self.outside:
            raise InvalidParameter(f"mask={str(self)!r} is not allowed: words have no points outside; leave them out")

    @classmethod
    def parse(cls, value: Any) -> MaskSpecification | None:
        """Return the specification in a text, ``words:the hat`` or ``points:12,40+30,50-80,20``; None if it is none.

        A mapping has the fields of the class: ``{"inside": [(12, 40)], "outside": [(80, 20)]}``.
        Raises InvalidParameter for one that cannot be read.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, Mapping):
            entries = entries_of(value)
            if not entries or not entries.keys() <= {"words", "inside", "outside"}:
                raise InvalidParameter(f"mask={shorten(value)} is not allowed: give words, or inside and outside")
            return cls(**entries)
        kind, colon, text = value.partition(":") if isinstance(value, str) else ("", "", "")
        if not colon or kind not in ("words", "points"):
            return None
        if kind == "words" and not text.strip(" \"'"):
            raise InvalidParameter(f"mask={value!r} is not allowed: give either words, or points inside")
        if kind == "words":
            return cls(words=text.strip().strip("\"'"))
        points = _POINT.findall(text)
        if "".join(sign + column + "," + row for sign, column, row in points) != text.replace(" ", "") or not points:
            raise InvalidParameter(f"mask={value[:60]!r} is not allowed: {_FORM}")
        inside, outside = (
            tuple((int(column), int(row)) for sign, column, row in points if (sign == "-") == is_outside)
            for is_outside in (False, True)
        )
        return cls(inside=inside, outside=outside)

    @property
    def kind(self) -> Literal["words", "points"]:
        """Kind of a specification that a segmenter reads."""
        return "words" if self.words else "points"

    def __str__(self) -> str:
        if self.words:
            return f"words:{self.words}"
        points = [("+", *point) for point in self.inside] + [("-", *point) for point in self.outside]
        return "points:" + "".join(f"{sign}{column},{row}" for sign, column, row in points).removeprefix("+")

    def check_inside(self, size: tuple[int, int]) -> None:
        """Raise InvalidParameter if a point is outside of an image of ``size`` (width, height)."""
        for column, row in (*self.inside, *self.outside):
            if not (column < size[0] and row < size[1]):
                raise InvalidParameter(
                    f"mask={str(self)!r} is not allowed: the point {column},{row} is outside of an image of "
                    f"{size[0]} x {size[1]} pixels"
                )


Segmenter = Callable[[Image.Image, MaskSpecification], NDArray[np.float32]]
"""Function from an image and a specification to the marked share (H, W) in [0, 1] of each pixel."""


def segment(
    segmenter: Segmenter, image: Image.Image, specification: MaskSpecification, title: str = "a segmenter"
) -> NDArray[np.float32]:
    """Return the marked shares (H, W) of a part of an image; raises PluginFailure if a segmenter gives other values.

    ``title`` names the segmenter in the message.
    """
    shares: Any = segmenter(image, specification)
    wanted = (image.height, image.width)
    if not isinstance(shares, np.ndarray) or shares.shape != wanted or not np.issubdtype(shares.dtype, np.floating):
        kind = f"{shares.dtype} of shape {shares.shape}" if isinstance(shares, np.ndarray) else type(shares).__name__
        raise PluginFailure(f"{title} returned {kind}, not floating-point shares of shape {wanted}")
    if not (np.isfinite(shares).all() and shares.min() >= 0 and shares.max() <= 1):
        raise PluginFailure(f"{title} returned shares that are not in [0, 1]")
    return shares.astype(np.float32)


def _place(point: Any) -> Place:
    """Return a point as two whole numbers."""
    try:
        column, row = (int(value) for value in point)
        if (column, row) == tuple(point) and column >= 0 and row >= 0:
            return column, row
    except (TypeError, ValueError):
        pass
    raise InvalidParameter(f"mask: the point {str(point)[:40]} is not allowed: give (x, y), whole pixels from 0 up")
