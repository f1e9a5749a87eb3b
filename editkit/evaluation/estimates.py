"""Means, medians and rates with 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..registry.tables import Estimate

Z = 1.959964
"""Standard deviations that hold 95 % of a normal distribution."""
SAMPLES = 2000
"""Number of bootstrap samples."""

Figures = NDArray[np.float64]
"""Figures (N,), one per image or edit."""


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a rate (Wilson 1927, "Probable inference")."""
    middle = (hits + Z**2 / 2) / (count + Z**2)
    half = Z / (count + Z**2) * math.sqrt(hits * (count - hits) / count + Z**2 / 4)
    return max(0.0, middle - half), min(1.0, middle + half)


def rate(hits: Sequence[bool]) -> Estimate:
    """Return the share of hits with Wilson's interval."""
    return Estimate(sum(hits) / len(hits), *wilson(sum(hits), len(hits)), len(hits))


def median(values: Figures) -> Figures:
    """The median of each row, for :func:`bootstrap`."""
    middle: Figures = np.median(values, axis=-1)
    return middle


def average(values: Figures) -> Figures:
    """The mean of each row, for :func:`bootstrap`."""
    middle: Figures = values.mean(-1)
    return middle


def bootstrap(of: Callable[..., Figures], *figures: Figures) -> Estimate:
    """Return the statistic ``of`` of figures (N,) of the same images, with a 95 % interval (2,000 bootstrap samples).

    ``of`` reduces figures (..., N) to one figure per row.
    """
    places = np.random.default_rng(0).integers(len(figures[0]), size=(SAMPLES, len(figures[0])))
    low, high = np.quantile(of(*(figure[places] for figure in figures)), [0.025, 0.975])
    return Estimate(float(of(*figures)), float(low), float(high), len(figures[0]))


def mean_of(values: Sequence[float | None]) -> Estimate | None:
    """Return the mean of the values that are not None, None without one.

    A single value has no interval, nor has an infinite mean, such as that of the PSNR of equal images.
    """
    defined = [value for value in values if value is not None]
    if not defined:
        return None
    if len(defined) == 1 or not np.isfinite(defined).all():
        return Estimate(float(np.mean(defined)), None, None, len(defined), len(values))
    estimate = bootstrap(average, np.asarray(defined, dtype=np.float64))
    return Estimate(estimate.value, estimate.low, estimate.high, len(defined), len(values))


def gain(hits: ArrayLike, floor: ArrayLike) -> Estimate:
    """Return the mean difference of two series of hits (N,) on the same images."""
    return bootstrap(average, np.asarray(hits, dtype=np.float64) - np.asarray(floor, dtype=np.float64))
