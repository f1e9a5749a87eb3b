"""Score of a result against the true outcome."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..images.metrics import judge, psnr_of_error

Pixels = NDArray[Any]
"""An image (H, W, 3) in 0..255."""


class TruthScore(NamedTuple):
    """Measures of a result whose true outcome is known; see :func:`editkit.judge`."""

    progress: float
    collateral: float
    success: bool
    success_round_trip: bool
    """Success with the autoencoder round trip of the true outcome in its place."""
    psnr: float
    """PSNR in dB of the result to the true outcome."""
    psnr_round_trip: float
    """PSNR in dB of the autoencoder round trip of the true outcome, which bounds that of a result."""


def score_against_truth(image: Pixels, truth: Pixels, result: Pixels, round_trip: Pixels) -> TruthScore:
    """Compare a result with the true outcome and its autoencoder round trip, all (H, W, 3) in 0..255."""
    return TruthScore(
        *judge(image, truth, result),
        success_round_trip=judge(image, round_trip, result).success,
        psnr=decibels(result / 255, truth / 255),
        psnr_round_trip=decibels(round_trip / 255, truth / 255),
    )


def decibels(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """PSNR in dB of images in [0, 1]; 100 for equal ones."""
    return psnr_of_error(float(np.square(one - other).mean()))
