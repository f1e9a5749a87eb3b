"""Rates, means and medians with 95 % intervals, and Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from editkit import Estimate, evaluation

Z = 1.959964
"""Standard deviations that hold 95 % of a normal distribution."""

Figures = NDArray[np.float64]
"""Figures (N,), one per image or edit."""
Items = TypeVar("Items", bound=Sequence[Any] | NDArray[Any])


def rate(hits: Sequence[bool]) -> str:
    return _to_text(evaluation.rate(hits))


def bootstrap(of: Callable[..., Figures], *figures: Figures) -> str:
    """Return the statistic ``of`` of figures (N,) of the same images; see :func:`editkit.evaluation.bootstrap`."""
    return _to_text(evaluation.bootstrap(of, *figures))


def _to_text(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


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
