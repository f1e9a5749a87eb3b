"""Noise of lossy compression in masks and maps of two levels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LOSSY_FORMATS = ("JPEG", "MPO", "WEBP", "AVIF", "MP4")
"""Formats by their names in Pillow that may change levels; a lossless WebP has no noise to be found."""
_NOISE = 32
"""Level up to which a pixel of a map of two levels counts as noise."""


def is_noisy(levels: NDArray[np.uint8], least: int) -> bool:
    """Whether an image (H, W) has two levels, black and white, with noise around them.

    Smooth edges have levels in the middle too; lossy compression leaves most of its error near the two levels,
    ``least`` times as many.
    """
    counts = np.bincount(levels.ravel(), minlength=256)
    middle = int(counts[24:232].sum())
    near = int(counts[1:24].sum() + counts[232:255].sum())
    return near > least * middle and middle < 0.03 * levels.size and bool(counts[232:].any())


def without_noise(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image (H, W), or (H, W, 3), of two levels with its noise set to black; another one as it is."""
    brightest = levels if levels.ndim == 2 else levels.max(-1)
    if not is_noisy(brightest, 2):
        return levels
    kept = brightest > _NOISE
    return levels * (kept if levels.ndim == 2 else kept[..., None])
