"""Condition maps: what an annotator gives, and how a ready-made one is read.

A map is grey, (H, W) in [0, 1]: of edges an edge is 1, of depth the nearest is 1 and the farthest 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import BadImage, InvalidParameter
from .reading import open_mask, open_values
from .sources import Source, describe

Map: TypeAlias = NDArray[np.float32]

Annotator: TypeAlias = Callable[[Image.Image], Map]
"""From a picture, mode RGB or RGBA, to a map (H, W) of its size."""


def read_map(
    source: Source,
    size: tuple[int, int] | None = None,
    *,
    invert: bool = False,
    argument: str = "control_image",
) -> Map:
    """Read a ready-made map (H, W) in [0, 1].

    Levels of 8 bits, in colour or grey, are taken as they are: 255 becomes 1, colour its luminance, transparency 0,
    and an embedded colour profile changes nothing. Deeper ones, which are 16-bit or 32-bit files of one channel and
    arrays (H, W) of any other number, have a range of their own: their smallest value becomes 0 and their largest 1,
    and where all are the same there is no depth to be seen and all become 0. ``invert`` is for maps in which far is
    white. A map of another size (width, height) than ``size`` but of its shape is resampled. ``source`` is as for
    open_image. Raises BadImage, naming ``argument``, for NaN, infinity, and whatever open_image does not read, and
    InvalidParameter for a map of another shape.
    """
    name, values = describe(source, argument), open_values(source, argument=argument)
    if values.dtype == np.uint8:
        read: Map = (255 - values if invert else values).astype(np.float32) / np.float32(255)
    else:
        read = normalise_range(values, name, -1 if invert else 1)
    return read if size is None else resize_map(read, size, name)


def map_image(levels: Map) -> Image.Image:
    """A map (H, W) in [0, 1] as a picture of 256 levels, mode L."""
    return Image.fromarray(np.rint(levels * 255).astype(np.uint8))


def normalise_range(values: NDArray[Any], name: str, sign: int) -> Map:
    """Values of any range laid out from 0 to 1, in their order or against it; all 0 where they are all the same."""
    finite = np.isfinite(values)
    if not finite.all():
        raise BadImage(f"{name} has NaN or infinity in {(~finite).sum()} of {finite.size} places: fill them in first")
    # Halves, because the difference of two large numbers may be infinite.
    real = values.astype(np.float64) * (sign / 2)
    low, high = real.min(), real.max()
    if low == high:
        return np.zeros(real.shape, dtype=np.float32)
    spread: Map = ((real - low) / (high - low)).astype(np.float32)
    return spread


def resize_map(values: Map, size: tuple[int, int], name: str) -> Map:
    """The map at another size (width, height) of the same shape, to a pixel."""
    height, width = values.shape
    if (width, height) == size:
        return values
    if abs(width * size[1] - height * size[0]) > max(width, height, *size):
        raise InvalidParameter(
            f"{name} is {width} x {height} pixels, another shape than the picture's {size[0]} x {size[1]}: crop it"
        )
    resampled = Image.fromarray(values).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(resampled).clip(0, 1)


def open_image_param(kind: str, given: Any, size: tuple[int, int], *, argument: str) -> Image.Image:
    """Open a picture of a kind of :func:`editkit.Picture`, in mode L and in the ``size`` (width, height) of the edited.

    Raises BadImage and InvalidParameter, naming ``argument``, as open_mask and read_map do.
    """
    if kind == "mask":
        return open_mask(given, size, argument=argument)
    return map_image(read_map(given, size, argument=argument))
