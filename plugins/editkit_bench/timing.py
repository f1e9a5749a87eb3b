"""Times of several sides taken in turns, so that what slows the machine down slows all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import torch

Seconds = Mapping[str, Sequence[float]]
"""By side: the seconds of its run in each round."""


class Ratio(NamedTuple):
    """The median over the rounds, and the range."""

    median: float
    low: float
    high: float


def in_turns(
    sides: Mapping[str, Callable[[], object]], rounds: int, device: str = "cpu", *, warm: Collection[str] = ()
) -> Seconds:
    """Run every side once to warm up but those that are, then in each round all of them, in turns: A B, B A, A B."""
    for name, run in sides.items():
        if name not in warm:
            run()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in reversed(list(sides)) if number % 2 else sides:
            seconds[name].append(timed(sides[name], device))
    return seconds


def timed(run: Callable[[], object], device: str = "cpu") -> float:
    """Seconds of one run, to its end on the device too."""
    wait(device)
    begun = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - begun


def wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def ratio(seconds: Seconds, side: str, other: str) -> Ratio:
    """How long a side took against another, of the same rounds each."""
    ratios = [one / two for one, two in zip(seconds[side], seconds[other], strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def milliseconds(seconds: Seconds, side: str) -> float:
    """The median of a run."""
    return statistics.median(seconds[side]) * 1000
