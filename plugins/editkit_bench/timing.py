"""Times of several sides measured in turns, so that a slower machine slows all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import torch

Seconds = Mapping[str, Sequence[float]]
"""Seconds of each round, by side."""


class Ratio(NamedTuple):
    """Median and range of a ratio over the rounds."""

    median: float
    low: float
    high: float


def time_in_turns(
    sides: Mapping[str, Callable[[], object]], rounds: int, device: str = "cpu", *, warm: Collection[str] = ()
) -> Seconds:
    """Warm up the sides that are not ``warm``, then run all of them in every round, in turns: A B, B A, A B."""
    for name, run in sides.items():
        if name not in warm:
            run()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in reversed(list(sides)) if number % 2 else sides:
            seconds[name].append(elapsed(sides[name], device))
    return seconds


def elapsed(run: Callable[[], object], device: str = "cpu") -> float:
    """Return the seconds of one run, including its work on the device."""
    _synchronise(device)
    start = time.perf_counter()
    run()
    _synchronise(device)
    return time.perf_counter() - start


def _synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def time_ratio(seconds: Seconds, side: str, other: str) -> Ratio:
    """Return the ratio of the times of two sides, round by round."""
    ratios = [one / two for one, two in zip(seconds[side], seconds[other], strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def median_ms(seconds: Seconds, side: str) -> float:
    """Return the median time of a side in milliseconds."""
    return statistics.median(seconds[side]) * 1000
