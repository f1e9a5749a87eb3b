"""Arrays of levels or of numbers in [0, 1] as stored images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import BadImage
from ..sources import check_size
from .image import Levels, StoredImage

_NEARLY_BLACK = 16
"""Share of white, as a divisor, below which the brightest level of an image is doubtful."""


def dark_notes(levels: Levels, name: str) -> list[str]:
    """Return a warning if an opaque image is so dark that its white is probably lower than that of its depth."""
    high, white = int(levels.max(initial=0)), int(np.iinfo(levels.dtype).max)
    if levels.shape[2] == 4 or not 0 < high < white // _NEARLY_BLACK:
        return []
    return [f"{name} is nearly black: its brightest level is {high} of {white}; scale its levels if its white is lower"]


def array_to_stored(array: NDArray[Any], name: str) -> StoredImage:
    """Return an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of levels or floats in [0, 1] as an image.

    Raises BadImage, naming it by ``name``, for other shapes, dtypes and values.
    """
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise BadImage(f"{name} has the wrong shape: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) is allowed")
    height, width = array.shape[:2]
    check_size((width, height), name)
    levels = levels_of(array, name)
    is_grey = array.ndim == 2 or array.shape[2] == 1
    stored = np.dstack([levels] * 3) if is_grey else np.ascontiguousarray(levels)
    return StoredImage(stored, notes=tuple(dark_notes(stored, name)))


def levels_of(values: NDArray[Any], name: str) -> Levels:
    """Levels of bool, uint8, uint16 or float in [0, 1]: 16-bit ones of uint16, else 8-bit ones."""
    if values.dtype == np.uint8:
        return np.array(values, dtype=np.uint8)
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        return values.astype(np.uint16)
    if values.dtype.kind != "f":
        raise BadImage(f"{name} has the wrong dtype: bool, uint8, uint16 or float in [0, 1] is allowed; convert it")
    if not np.isfinite(values).all():
        raise BadImage(f"{name} has NaN or infinite pixels: floats must lie in [0, 1]; replace them")
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        raise BadImage(f"{name} has float pixels from {low:g} to {high:g}: floats must lie in [0, 1]; rescale them")
    return np.rint(values.astype(np.float64) * 255).astype(np.uint8)
