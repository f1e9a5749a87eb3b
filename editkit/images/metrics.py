"""Measure how far images differ."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from ..errors import InvalidParameter
from .sources import format_size
from .stored.image import StoredImage, to_8_bits

if TYPE_CHECKING:
    from torch import Tensor


def psnr(one: Tensor, other: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pixels in [0, 1], both rounded to 8 bits; 100 if they are equal."""
    return psnr_of_error(float(((one * 255).round() - (other * 255).round()).double().square().mean()), 255)


def psnr_of_error(error: float, white: float = 1.0) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error of pixels in [0, ``white``]; 100 for none."""
    return 100.0 if error == 0 else 10 * math.log10(white**2 / error)


def largest_difference(a: Image.Image, b: Image.Image, mask: Image.Image | None = None) -> int:
    """Largest difference between two images in 8-bit levels, 0..255, where the mask is 0, or anywhere without a mask.

    An image without alpha counts as opaque, and colour under transparency counts too. Returns 0 if the mask is 0
    nowhere. Raises InvalidParameter unless all have the size of ``a``.
    """
    for name, other in (("b", b), ("mask", mask)):
        if other is not None and other.size != a.size:
            raise InvalidParameter(
                f"{name} is {format_size(other.size)} pixels but must be {format_size(a.size)} like a"
            )
    mode = "RGB" if a.mode == b.mode == "RGB" else "RGBA"
    first, second = (np.asarray(image.convert(mode)) for image in (a, b))
    difference = (np.maximum(first, second) - np.minimum(first, second)).max(axis=2)
    if mask is not None:
        difference = difference[np.asarray(mask.convert("L")) == 0]
    return int(difference.max(initial=0))


def stored_difference(before: StoredImage, after: StoredImage, mask: Image.Image | None = None) -> int:
    """Largest difference between two images of one size where the mask is 0, in levels of the depth of ``after``.

    Levels are compared in the profile of ``after``. An image without alpha counts as opaque, and colour under
    transparency counts too.
    """
    pair = [
        _levels_like(image, after, with_alpha=4 in (before.levels.shape[2], after.levels.shape[2]))
        for image in (before, after)
    ]
    difference = (np.maximum(*pair) - np.minimum(*pair)).max(axis=2)
    if mask is not None:
        difference = difference[np.asarray(mask) == 0]
    return int(difference.max(initial=0))


def _levels_like(image: StoredImage, like: StoredImage, *, with_alpha: bool) -> NDArray[Any]:
    """Levels of an image at the depth and in the profile of another, with a full alpha if it has none."""
    if image.icc != like.icc:
        levels = like.with_colours(image.colours()).levels
    else:
        levels = image.levels[..., :3] if image.depth <= like.depth else to_8_bits(image.levels[..., :3])
    if not with_alpha:
        return levels
    alpha = np.ones(image.levels.shape[:2], np.float32) if image.alpha is None else image.alpha
    return np.dstack([levels, np.rint(alpha * like.maximum).astype(levels.dtype)])


class Judgement(NamedTuple):
    """Position of an output relative to its source and its true target."""

    progress: float
    """Component of the change along the difference from source to target: 0 for no change, 1 for the whole edit."""
    collateral: float
    """Length of the change orthogonal to that difference, relative to the length of the difference."""
    success: bool
    """True if the squared distance of the output to the target is below half that of the source to the target."""


def judge(source: ArrayLike, target: ArrayLike, output: ArrayLike) -> Judgement:
    """Judge an output by its source and its true target, arrays of one shape and scale, usually (H, W, 3).

    With ``edit = target - source`` and ``change = output - source``, progress is ``<change, edit> / |edit|**2`` and
    collateral ``|change - progress * edit| / |edit|``. Source and target must differ.
    """
    start = np.asarray(source, dtype=np.float64)
    edit, change = np.asarray(target, dtype=np.float64) - start, np.asarray(output, dtype=np.float64) - start
    size = float(np.square(edit).sum())
    progress = float((change * edit).sum()) / size
    collateral = float(np.sqrt(np.square(change - progress * edit).sum() / size))
    return Judgement(progress, collateral, success=bool(np.square(change - edit).sum() < 0.5 * size))
