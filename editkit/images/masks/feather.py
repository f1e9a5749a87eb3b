"""Fading of a mask's edge inward."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LEAST_LEFT = 0.5
"""Share of a mask's strength in its middle below which its feather counts as too wide."""


def fade_edges(levels: NDArray[np.uint8], feather: float) -> NDArray[np.float32]:
    """Return levels (H, W) that fade from the edge of the mask inward over ``feather`` pixels."""
    return np.asarray(levels * _fade(levels, feather), dtype=np.float32)


def feather_note(levels: NDArray[np.uint8], feather: float) -> str | None:
    """Return a warning if a feather leaves little of a part of a mask, which is narrower; else None."""
    import cv2

    marked = (levels > 0).astype(np.uint8)
    if feather <= 0 or not marked.any():
        return None
    fade = _fade(levels, feather)
    count, parts = cv2.connectedComponents(marked, connectivity=8)
    left = np.zeros(count, dtype=np.float32)
    np.maximum.at(left, parts.ravel(), fade.ravel().astype(np.float32))
    narrow = left[1:] < _LEAST_LEFT
    if not narrow.any():
        return None
    which = "the mask" if narrow.all() else f"{int(narrow.sum())} of the {count - 1} parts of the mask"
    return (
        f"feather={feather:g} is wider than {which}: at most {float(left[1:][narrow].max()):.0%} of the change is left "
        "there; use a smaller one"
    )


def _fade(levels: NDArray[np.uint8], feather: float) -> NDArray[np.float64]:
    """Return factors (H, W) that rise from the edge of the mask inward and reach 1 after ``feather`` pixels."""
    import cv2

    # The outside of the image counts as masked: the border of the image is no edge of the mask.
    distance = cv2.distanceTransform((levels > 0).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(np.clip(distance / (feather + 1), 0, 1), dtype=np.float64)
