"""Measure how far images differ."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from ..errors import InvalidParameter
from .sources import _extent


def psnr(one: Tensor, other: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pixels in [0, 1], both rounded to 8 bits; 100 where they are equal."""
    error = ((one * 255).round() - (other * 255).round()).double().square().mean()
    return 100.0 if error == 0 else 10 * math.log10(255**2 / float(error))


def largest_difference(a: Image.Image, b: Image.Image, mask: Image.Image | None = None) -> int:
    """The largest difference between two pictures where the mask is 0, or anywhere without a mask.

    All must have the same size; a picture without alpha counts as opaque, and colour under transparency counts too.
    Returns 8-bit levels in 0..255, and 0 where the mask leaves nothing. Raises InvalidParameter for other sizes.
    """
    for name, other in (("b", b), ("mask", mask)):
        if other is not None and other.size != a.size:
            raise InvalidParameter(f"{name} is {_extent(other.size)} pixels but must be {_extent(a.size)} like a")
    mode = "RGB" if a.mode == b.mode == "RGB" else "RGBA"
    first, second = (np.asarray(picture.convert(mode)) for picture in (a, b))
    difference = (np.maximum(first, second) - np.minimum(first, second)).max(axis=2)
    if mask is not None:
        difference = difference[np.asarray(mask.convert("L")) == 0]
    return int(difference.max(initial=0))


class Judgement(NamedTuple):
    """How an output lies between its source and its true target."""

    progress: float
    """How much of the way from source to target was gone: 0 where nothing happened, 1 for the whole edit."""
    collateral: float
    """What was done beside that way, in lengths of it."""
    success: bool
    """Whether the output is nearer to the target than to the source, by half the squared distance between them."""


def judge(source: ArrayLike, target: ArrayLike, output: ArrayLike) -> Judgement:
    """Judge an output by its source and its true target, arrays of one shape and scale, (H, W, 3) mostly.

    With ``way = target - source`` and ``done = output - source``, progress is ``<done, way> / |way|**2`` and
    collateral ``|done - progress * way| / |way|``. Source and target must differ.
    """
    start = np.asarray(source, dtype=np.float64)
    way, done = np.asarray(target, dtype=np.float64) - start, np.asarray(output, dtype=np.float64) - start
    size = float(np.square(way).sum())
    progress = float((done * way).sum()) / size
    beside = float(np.sqrt(np.square(done - progress * way).sum() / size))
    return Judgement(progress, beside, success=bool(np.square(done - way).sum() < 0.5 * size))
