"""Levels of masks that hold numbers: arrays of any type, and files of one channel with more than 8 bits."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import BadImage

MAX_LABELS = 31
"""Largest number of a class in a mask of labels; a grey level this dark would allow an eighth of a change."""
SOFTEST_DIM = 64
"""Brightest level below which a soft mask counts as dark."""
_DEPTHS = (1023, 4095, 16383)
"""White of 10, 12 and 14 bits."""
_MOST_NUMBERS = 64
"""Different values up to which a mask holds the numbers of parts and no levels."""
_ROUNDING = 0.01


class Numbers(NamedTuple):
    """Numbers (H, W) as levels of 255, or as labels."""

    levels: NDArray[np.uint8]
    labels: NDArray[Any] | None = None
    note: str | None = None


def read_numbers(values: NDArray[Any], name: str) -> Numbers:
    """Read booleans, real numbers in [0, 1] or [0, 255], whole numbers up to 255 or 65535, or small labels.

    Raises BadImage, naming the mask, for any other numbers.
    """
    if values.dtype == np.bool_:
        return Numbers(values.astype(np.uint8) * np.uint8(255))
    if values.dtype.kind not in "uif":
        raise BadImage(f"{name} has the wrong dtype: booleans, whole or real numbers are allowed; convert it")
    is_real = values.dtype.kind == "f"
    if is_real and not np.isfinite(values).all():
        raise BadImage(f"{name} has NaN or infinite pixels: replace them")
    low, high = float(values.min()), float(values.max())
    if low < -_ROUNDING or (low < 0 and not is_real) or high > (255 if is_real else 65535):
        allowed = "0 to 1 or 0 to 255" if is_real else "0 to 255 or 0 to 65535"
        raise BadImage(f"{name} has values from {low:g} to {high:g}: {allowed} are allowed; rescale them")
    if is_real and high <= 1 + _ROUNDING:
        return Numbers(np.rint(values.clip(0, 1).astype(np.float64) * 255).astype(np.uint8))
    if (note := label_note(values)) is not None:
        return Numbers(_to_8_bits(values, 255), values, note)
    if high <= 255:
        deep = is_real or values.dtype == np.uint16
        note = f"has values of 0 to {high:g}, read as levels of 0 to 255" if deep else None
        return Numbers(_to_8_bits(values, 255), note=note)
    return _read_large_numbers(values.astype(np.int64))


def _read_large_numbers(values: NDArray[np.int64]) -> Numbers:
    """Read whole numbers, some above 255: levels of 10 to 16 bits, or numbers of parts beside 0."""
    low, high = int(values.min()), int(values.max())
    if low > 0 or high >= SOFTEST_DIM * 257:
        return Numbers(_to_8_bits(values, 65535))
    if high in _DEPTHS and np.count_nonzero(np.bincount(values.ravel())) > _MOST_NUMBERS:
        return Numbers(_to_8_bits(values, high), note=f"has values of 0 to {high}, read as levels of 0 to {high}")
    return Numbers(
        _to_8_bits(values, 65535), values, f"holds numbers of parts up to {high}: all but 0 is read as marked"
    )


def label_note(values: NDArray[Any]) -> str | None:
    """Return how numbers (H, W) are read if they are those of classes; None if they are levels.

    Classes are whole numbers up to :data:`MAX_LABELS` beside 0, or 1 everywhere; 255 may mark a smaller part without
    class, as in the Pascal VOC.
    """
    if values.max() > 255 or (values.dtype.kind == "f" and not np.array_equal(values, np.rint(values))):
        return None
    histogram = np.bincount(values.astype(np.uint8).ravel(), minlength=256)
    present = np.flatnonzero(histogram)
    counts = histogram[present]
    if present.tolist() == [1]:
        return "holds 1 everywhere, read as marked"
    is_class = (present > 0) & (present <= MAX_LABELS)
    others = counts[present > MAX_LABELS].sum()
    if present[0] != 0 or not is_class.any() or not set(present[present > MAX_LABELS]) <= {255}:
        return None
    if others >= counts[is_class].sum():
        return None
    if present[-1] == 1:
        return "holds 0 and 1 in place of 0 and 255: 1 is read as marked"
    return f"holds numbers of classes up to {int(present[is_class][-1])}: all but 0 is read as marked"


def read_channels(values: NDArray[Any]) -> NDArray[Any]:
    """Return channels (H, W, 3 or 4) of whole numbers, or of 0 to 255, as levels of 8 bits; others as they are."""
    if values.dtype.kind not in "uif" or values.dtype in (np.uint8, np.uint16) or not np.isfinite(values).all():
        return values
    low, high = values.min(), values.max()
    if low < 0 or high > 255 or (values.dtype.kind == "f" and high <= 1):
        return values
    return np.asarray(np.rint(values), dtype=np.uint8)


def _to_8_bits(values: NDArray[Any], maximum: int) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values.astype(np.uint8)
    levels = values.astype(np.float64).clip(0, maximum)
    return np.rint(levels * (255 / maximum)).astype(np.uint8)
