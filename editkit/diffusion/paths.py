"""Paths: the points a loop visits, from noise to clean; reversed, the way of an inversion."""

from __future__ import annotations

import dataclasses as dc
import itertools
from typing import get_args

import numpy as np

from ..errors import InvalidParameter, did_you_mean
from ..literals import Spacing
from .points import CLEAN, Point, RenoisePoint
from .schedules import Schedule

SamplingPath = tuple[Point, ...]


@dc.dataclass(frozen=True)
class TimestepGrid:
    """How a model's schedule wants its timesteps laid out."""

    spacing: Spacing = "leading"
    offset: int = 0
    """Timesteps added to a leading grid, so that it does not begin at timestep 0."""
    ends_clean: bool = False
    """Whether the clean end of a path is sigma 0 rather than the schedule's least noise."""
    distilled: int = 50
    """How many timesteps few-step models are distilled on: the spacing of that name takes some of them."""


def make_path(
    schedule: Schedule, steps: int, grid: TimestepGrid, *, extra_node: bool = False, to_zero: bool = False
) -> SamplingPath:
    """Return ``steps + 1`` points from the noisiest to the clean end.

    ``extra_node`` spaces for one node more and leaves the cleanest out; ``to_zero`` ends at sigma 0 whatever the grid
    says. Raises InvalidParameter where the schedule has fewer timesteps than steps.
    """
    if not 1 <= steps + extra_node <= schedule.train_steps:
        raise InvalidParameter(f"steps={steps} is not allowed: this model has {schedule.train_steps} timesteps")
    if grid.spacing == "karras":
        points = karras(schedule, steps)
    else:
        points = [schedule.point(t) for t in timesteps(schedule, steps, grid, extra_node)]
    end = CLEAN if to_zero or grid.ends_clean else schedule.point(schedule.first)
    return (*points, end)


def timesteps(schedule: Schedule, steps: int, grid: TimestepGrid, extra_node: bool = False) -> list[float]:
    """Falling timesteps (steps,) of an evenly spaced grid (Lin et al., arXiv 2305.08891, table 2)."""
    count = steps + extra_node
    first, last = schedule.first, schedule.last
    match grid.spacing:
        case "leading":
            apart = schedule.train_steps // count
            # A full grid leaves no room for the offset.
            room = last - first - (count - 1) * apart
            even = first + np.arange(count)[::-1] * apart + min(grid.offset, room)
        case "trailing":
            even = last - np.arange(steps) * (schedule.train_steps / steps)
        case "linspace":
            even = np.linspace(last, first, count)
        case "distilled":
            even = first + distilled_timesteps(schedule, grid.distilled, count)
        case _:
            raise InvalidParameter(
                f"spacing {grid.spacing!r} is unknown; {did_you_mean(grid.spacing, get_args(Spacing))}"
            )
    return [float(t) for t in schedule.shift_timesteps(even[:steps])]


def distilled_timesteps(schedule: Schedule, known: int, count: int) -> np.ndarray:
    """Falling timesteps (count,) out of the ``known`` that a model was distilled on (Luo et al., arXiv 2310.04378).

    These end equally long spans of the trained ones; out of them are taken such as are evenly far apart in number.
    """
    if count > known:
        raise InvalidParameter(
            f"steps={count} is not allowed: few-step models are distilled on {known} timesteps; take fewer steps, "
            "or another spacing"
        )
    ends = np.arange(known, 0, -1) * (schedule.train_steps // known) - 1
    chosen: np.ndarray = ends[np.floor(np.arange(count) * known / count).astype(int)]
    return chosen


def with_resampling(path: SamplingPath, times: int) -> SamplingPath:
    """Go down every step of a path ``times`` times, back up by fresh noise in between.

    Each pass lets what is drawn fit better to what is held (Lugmayr et al., arXiv 2201.09865, section 4.2, with jumps
    of one step).
    """
    jumping = [path[0]]
    for p, q in itertools.pairwise(path):
        jumping += [q, *[RenoisePoint(*p), q] * (times - 1)]
    return tuple(jumping)


def karras(schedule: Schedule, steps: int, rho: float = 7.0) -> list[Point]:
    """Points (steps,) evenly spaced in the rho-th root of sigma / alpha (Karras et al., arXiv 2206.00364, eq. 5)."""
    # Pure noise has no finite sigma / alpha: there the ramp starts one trained timestep lower.
    noisy, clean = schedule.point(schedule.last), schedule.point(schedule.first)
    if noisy.alpha < 1e-6:
        noisy = schedule.point(schedule.last - 1)
    high, low = (noisy.sigma / noisy.alpha) ** (1 / rho), (clean.sigma / clean.alpha) ** (1 / rho)
    ratios = np.linspace(high, low, steps) ** rho
    return [schedule.point(schedule.timestep(Point(1.0, float(ratio)))) for ratio in ratios]


def start_at(schedule: Schedule, path: SamplingPath, strength: float) -> SamplingPath:
    """Keep the last ``strength`` (0 to 1) of a path's steps; a fraction of a step is kept as a shorter step.

    Strength 0 leaves one point and so no step; strength 1 the whole path.
    """
    # Rounded, because 0.29 of 100 steps are 29 and not the 28.999999999999996 of binary fractions.
    kept = round((len(path) - 1) * strength, 9)
    whole = int(kept)
    tail = path[len(path) - 1 - whole :]
    if kept == whole:
        return tail
    noisier, here = (schedule.timestep(point) for point in (path[len(path) - 2 - whole], tail[0]))
    return (schedule.point(here + (kept - whole) * (noisier - here)), *tail)
