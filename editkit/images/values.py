"""Open images as values, for masks and maps: without a colour profile, and at their own depth."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import BadImage
from .compression import LOSSY_FORMATS, without_noise
from .conversion import eight_bit_values
from .reading import open_checked
from .sources import Source, check_size, describe_source, plain_source
from .stored.arrays import array_to_stored
from .stored.decoding import decode, orientation_of, turn_upright
from .stored.deep import deep_channel, has_deep_channel

_FAINT = 24
"""Difference between the channels of a pixel up to which a lossy file counts as grey."""


def open_values(source: Source, *, argument: str, colour: bool = False) -> NDArray[Any]:
    """Open the values of an image, (H, W): uint8 luminance of 8-bit or colour images, deeper values as stored.

    With ``colour``, an image whose channels differ gives all of them, (H, W, 3) uint8.

    ``source`` is as for open_image, and an array (H, W) or (H, W, 1) may hold whole or real numbers of any range.
    Transparency becomes 0, and an embedded colour profile is ignored, as are faint colours of a lossy file and its
    noise around two levels. Raises BadImage like open_image.
    """
    source = plain_source(source, argument)
    if isinstance(source, np.ndarray):
        return _array_values(source, describe_source(source, argument), colour)
    return open_checked(source, argument, functools.partial(_file_values, colour=colour))


def _file_values(image: Image.Image, data: bytes, name: str, *, colour: bool) -> NDArray[Any]:
    values = stored_values(image, data, name, colour=colour)
    if getattr(image, "format", None) not in LOSSY_FORMATS:
        return values
    if values.ndim == 3 and (values.max(-1) - values.min(-1)).max() <= _FAINT:
        values = stored_values(image, data, name)
    return without_noise(values)


def stored_values(image: Image.Image, data: bytes, name: str, *, colour: bool = False) -> NDArray[Any]:
    """Decode the values of an opened image as :func:`open_values` returns them; ``data`` is as for :func:`decode`."""
    if has_deep_channel(image):
        return turn_upright(deep_channel(image), orientation_of(image))
    return eight_bit_values(decode(image, data, name, use_profile=False).view(), colour)


def _array_values(array: NDArray[Any], name: str, colour: bool) -> NDArray[Any]:
    flat = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if flat.ndim != 2 or flat.dtype in (np.uint8, np.bool_):
        return eight_bit_values(array_to_stored(array, name).view(), colour)
    check_size((flat.shape[1], flat.shape[0]), name)
    if flat.dtype.kind not in "uif":
        raise BadImage(f"{name} has the wrong dtype: whole or real numbers are allowed; convert it")
    return flat
