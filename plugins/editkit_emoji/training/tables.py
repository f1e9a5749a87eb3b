"""Rates, means and medians with 95 % intervals, and Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Z = 1.959964
"""Standard deviations that hold 95 % of a normal distribution."""

Figures = NDArray[np.float64]
"""Figures (N,), one per image or edit."""
Items = TypeVar("Items", bound=Sequence[Any] | NDArray[Any])


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a rate (Wilson 1927, "Probable inference")."""
    middle = (hits + Z**2 / 2) / (count + Z**2)
    half = Z / (count + Z**2) * math.sqrt(hits * (count - hits) / count + Z**2 / 4)
    return max(0.0, middle - half), min(1.0, middle + half)


def rate(hits: Sequence[bool]) -> str:
    low, high = wilson(sum(hits), len(hits))
    return f"{sum(hits) / len(hits):.2f} ({low:.2f} to {high:.2f})"


def bootstrap(of: Callable[..., Figures], *figures: Figures) -> str:
    """Return the statistic ``of`` of figures (N,) of the same images, with a 95 % interval (2,000 bootstrap samples).

    ``of`` reduces figures (..., N) to one figure per row.
    """
    places = np.random.default_rng(0).integers(len(figures[0]), size=(2000, len(figures[0])))
    low, high = np.quantile(of(*(figure[places] for figure in figures)), [0.025, 0.975])
    return f"{of(*figures):.2f} ({low:.2f} to {high:.2f})"


def median(values: Figures) -> Figures:
    """The median of each row, for :func:`bootstrap`."""
    middle: Figures = np.median(values, axis=-1)
    return middle


def average(values: Figures) -> Figures:
    """The mean of each row, for :func:`bootstrap`."""
    middle: Figures = values.mean(-1)
    return middle


def mean(values: NDArray[np.floating]) -> str:
    half = Z * values.std(ddof=1) / math.sqrt(len(values))
    return f"{values.mean():.1f} ({values.mean() - half:.1f} to {values.mean() + half:.1f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def evenly_spaced(items: Items, count: int) -> Items:
    """Return up to ``count`` items of a sequence or array, evenly spread over it."""
    every = max(1, len(items) // count)
    return items[::every][:count]  # type: ignore[return-value]  # a slice is of the sequence's own kind
