"""Condition maps: the type of annotators, and reading maps from files.

A map is grey, (H, W) in [0, 1]: in an edge map 1 is an edge; in a depth map 1 is the nearest and 0 the farthest point.
A ready-made map may have colours, (H, W, 3), such as a map of normals, poses or segments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import BadImage, InvalidParameter
from ..registry.arguments import FLAG, check_arguments
from .sources import Source, describe_source
from .values import open_values

Map: TypeAlias = NDArray[np.float32]

_BLACK, _WHITE = 0.25, 0.75
_SOFT_SHARE, _GROUND_SHARE = 0.15, 0.7
"""Share of grey pixels up to which a map has two levels, and share of white ones from which white is its ground."""

Annotator: TypeAlias = Callable[[Image.Image], Map]
"""Function from an image, mode RGB or RGBA, to a map (H, W) of its size."""


@check_arguments(invert=FLAG)
def read_map(
    source: Source,
    size: tuple[int, int] | None = None,
    *,
    invert: bool = False,
    argument: str = "control_image",
    colour: bool = False,
) -> Map:
    """Read a ready-made map (H, W) in [0, 1]; with ``colour``, (H, W, 3) if it has any.

    8-bit levels are divided by 255, or by 1 if they are 0 and 1: colour becomes luminance, transparency becomes 0, and
    an embedded colour profile is ignored; of black strokes on a transparent layer the opacity is read. Deeper values
    (16-bit or 32-bit files of one channel, arrays (H, W) of any other number type) are normalised: the smallest becomes
    0 and the largest 1; a constant map becomes 0. ``invert`` is for maps in which far is white. A map with the aspect
    ratio of ``size`` (width, height) but another size is resampled. ``source`` is as for open_image. Raises BadImage,
    naming ``argument``, for NaN, infinity, and sources that open_image does not read, and InvalidParameter for a map of
    another aspect ratio.
    """
    name, values = describe_source(source, argument), open_values(source, argument=argument, colour=colour)
    if values.dtype == np.uint8:
        values = values * np.uint8(255) if values.max(initial=0) == 1 else values
        levels: Map = (255 - values if invert else values).astype(np.float32) / np.float32(255)
    else:
        levels = _normalise_range(values, name, -1 if invert else 1)
    return levels if size is None else _resize_map(levels, size, name)


def map_note(levels: Map, name: str, *, invert: bool, option: str = "control_invert") -> str | None:
    """Return a warning if a map shows nothing, or, inverted or not by ``option``, dark lines on white; else None."""
    low, high = float(levels.min()), float(levels.max())
    if low == high:
        return f"{name} has one value everywhere, so it shows nothing to follow"
    used = 1 - levels if invert else levels
    middle = ((used > _BLACK) & (used < _WHITE)).mean()
    if used.ndim == 3 or middle > _SOFT_SHARE or (used >= _WHITE).mean() < _GROUND_SHARE:
        return None
    return (
        f"{name} is read as dark lines on white, which covers most of it: the lines of an edge map are white on black; "
        f"{option}={not invert} exchanges them"
    )


def map_to_image(levels: Map) -> Image.Image:
    """Convert a map in [0, 1] to an image of 256 levels: (H, W) to mode L, (H, W, 3) to mode RGB."""
    return Image.fromarray(np.rint(levels * 255).astype(np.uint8))


def _normalise_range(values: NDArray[Any], name: str, sign: int) -> Map:
    """Scale values of any range to [0, 1], reversed if ``sign`` is -1; all 0 if they are all equal."""
    finite = np.isfinite(values)
    if not finite.all():
        raise BadImage(f"{name} has NaN or infinity in {(~finite).sum()} of {finite.size} places: fill them in first")
    # Halved, because the difference of two large numbers may be infinite.
    halves = values.astype(np.float64) * (sign / 2)
    low, high = halves.min(), halves.max()
    if low == high:
        return np.zeros(halves.shape, dtype=np.float32)
    levels: Map = ((halves - low) / (high - low)).astype(np.float32)
    return levels


def _resize_map(values: Map, size: tuple[int, int], name: str) -> Map:
    """Resample a map to ``size`` (width, height), whose aspect ratio may differ by the rounding of one pixel."""
    height, width = values.shape[:2]
    if (width, height) == size:
        return values
    if abs(width * size[1] - height * size[0]) > max(width, height, *size):
        raise InvalidParameter(
            f"{name} is {width} x {height} pixels, another shape than the image's {size[0]} x {size[1]}: crop it"
        )
    channels = [values] if values.ndim == 2 else list(np.moveaxis(values, 2, 0))
    resampled = [np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BILINEAR)) for one in channels]
    return (resampled[0] if values.ndim == 2 else np.dstack(resampled)).clip(0, 1)
