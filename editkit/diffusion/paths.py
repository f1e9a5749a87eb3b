"""Sampling paths: points from noise to clean. An inversion walks the reversed path."""

from __future__ import annotations

import dataclasses as dc
import itertools
import math
from collections.abc import Callable, Mapping
from typing import get_args

import numpy as np

from ..errors import InvalidParameter, did_you_mean
from ..literals import Spacing
from .points import CLEAN, Point, RenoisePoint
from .schedules import Schedule

SamplingPath = tuple[Point, ...]


@dc.dataclass(frozen=True)
class TimestepGrid:
    """Layout of the timesteps of a model's paths."""

    spacing: Spacing = "leading"
    offset: int = 0
    """Timesteps added to a leading grid, so that its cleanest step is not at timestep 0."""
    ends_clean: bool = False
    """Whether a path ends at sigma 0 instead of the schedule's lowest noise."""
    distilled: int = 50
    """Number of timesteps that few-step models are distilled on; the spacing ``distilled`` selects from them."""
    ramp_within: Spacing | None = None
    """Even spacing whose first and last timestep bound a ramp of noise levels (:data:`RAMPS`); None for the whole
    schedule."""
    ramp_by_sigma: bool = False
    """Whether a ramp has levels of sigma, as schedulers of rectified flows do, or of sigma / alpha."""


def make_path(
    schedule: Schedule, steps: int, grid: TimestepGrid, *, extra_node: bool = False, to_zero: bool = False
) -> SamplingPath:
    """Return ``steps + 1`` points from the noisiest to the clean end.

    ``extra_node`` spaces one more node and drops the cleanest. ``to_zero`` ends at sigma 0, independent of the grid.
    Raises InvalidParameter if the schedule has fewer timesteps than steps.
    """
    if not 1 <= steps + extra_node <= schedule.train_steps:
        raise InvalidParameter(f"steps={steps} is not allowed: this model has {schedule.train_steps} timesteps")
    if grid.spacing in RAMPS:
        points = ramp(schedule, steps, grid)
    else:
        points = [schedule.point(t) for t in timesteps(schedule, steps, grid, extra_node)]
    end = CLEAN if to_zero or grid.ends_clean else schedule.point(schedule.first)
    return (*points, end)


def timesteps(schedule: Schedule, steps: int, grid: TimestepGrid, extra_node: bool = False) -> list[float]:
    """Return falling timesteps (steps,) of an evenly spaced grid (Lin et al., arXiv 2305.08891, table 2)."""
    count = steps + extra_node
    first, last = schedule.first, schedule.last
    match grid.spacing:
        case "leading":
            stride = schedule.train_steps // count
            # A full grid leaves no room for the offset.
            room = last - first - (count - 1) * stride
            even = first + np.arange(count)[::-1] * stride + min(grid.offset, room)
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


def distilled_timesteps(schedule: Schedule, distilled: int, count: int) -> np.ndarray:
    """Return falling timesteps (count,) out of those a model was distilled on (Luo et al., arXiv 2310.04378).

    The ``distilled`` timesteps are the ends of equal spans of the training timesteps; ``count`` of them are selected
    at even distances of their index. Raises InvalidParameter if ``count`` is larger than ``distilled``.
    """
    if count > distilled:
        raise InvalidParameter(
            f"steps={count} is not allowed: few-step models are distilled on {distilled} timesteps; take fewer steps, "
            "or another spacing"
        )
    ends = np.arange(distilled, 0, -1) * (schedule.train_steps // distilled) - 1
    selected: np.ndarray = ends[np.floor(np.arange(count) * distilled / count).astype(int)]
    return selected


def with_resampling(path: SamplingPath, times: int) -> SamplingPath:
    """Return a path that takes every step ``times`` times and returns by fresh noise in between.

    Each repetition fits the sampled part better to the part that a mask protects (Lugmayr et al., arXiv 2201.09865,
    section 4.2, with jumps of one step).
    """
    points = [path[0]]
    for p, q in itertools.pairwise(path):
        points += [q, *[RenoisePoint(*p), q] * (times - 1)]
    return tuple(points)


def ramp(schedule: Schedule, steps: int, grid: TimestepGrid) -> list[Point]:
    """Return points (steps,) whose noise levels the spacing of a grid lays out in :data:`RAMPS`.

    The level is sigma / alpha, or sigma; its first and last value are those of the schedule or of an even spacing.
    """
    noisy, clean = _ramp_ends(schedule, steps, grid)
    if grid.ramp_by_sigma:
        levels = RAMPS[grid.spacing](noisy.sigma, clean.sigma, steps)
        return [schedule.point(schedule.timestep(Point(1 - float(level), float(level)))) for level in levels]
    levels = RAMPS[grid.spacing](noisy.sigma / noisy.alpha, clean.sigma / clean.alpha, steps)
    return [schedule.point(schedule.timestep(Point(1.0, float(level)))) for level in levels]


def _ramp_ends(schedule: Schedule, steps: int, grid: TimestepGrid) -> tuple[Point, Point]:
    """Return the noisiest and the cleanest point of a ramp."""
    first, last = schedule.first, schedule.last
    if grid.ramp_within is not None:
        even = timesteps(schedule, steps, dc.replace(grid, spacing=grid.ramp_within))
        first, last = even[-1], even[0]
    noisy, clean = schedule.point(last), schedule.point(first)
    # At pure noise sigma / alpha is infinite: the ramp then starts one training timestep lower.
    if noisy.alpha < 1e-6 and not grid.ramp_by_sigma:
        noisy = schedule.point(schedule.last - 1)
    return noisy, clean


def karras(high: float, low: float, steps: int, rho: float = 7.0) -> np.ndarray:
    """Return levels (steps,) evenly spaced in their rho-th root (Karras et al., arXiv 2206.00364, eq. 5)."""
    levels: np.ndarray = np.linspace(high ** (1 / rho), low ** (1 / rho), steps) ** rho
    return levels


def exponential(high: float, low: float, steps: int) -> np.ndarray:
    """Return levels (steps,) evenly spaced in their logarithm (Lu et al., arXiv 2206.00927, section 3.4)."""
    return np.geomspace(high, low, steps)


def beta(high: float, low: float, steps: int, shape: float = 0.6) -> np.ndarray:
    """Return levels (steps,) at even quantiles of a symmetric beta distribution (Lee et al., arXiv 2407.12173)."""
    # With x = sin(u**5)**2 the density has no pole at 0; its half up to x = 1/2 is integrated on a fine grid.
    u = np.linspace(0, (math.pi / 4) ** 0.2, 2**14 + 1)
    angle = u**5
    density = (np.sin(angle) * np.cos(angle)) ** (2 * shape - 1) * u**4
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    quantiles = np.linspace(1, 0, steps)
    half = np.interp(np.minimum(quantiles, 1 - quantiles), mass / (2 * mass[-1]), np.sin(angle) ** 2)
    levels: np.ndarray = low + np.where(quantiles > 0.5, 1 - half, half) * (high - low)
    return levels


RAMPS: Mapping[str, Callable[[float, float, int], np.ndarray]] = {
    "karras": karras,
    "exponential": exponential,
    "beta": beta,
}
"""Spacings that lay out noise levels, not timesteps, from a high to a low one."""


def start_at(schedule: Schedule, path: SamplingPath, strength: float) -> SamplingPath:
    """Return the last ``strength`` (0 to 1) of a path's steps; a fraction of a step becomes a shorter step.

    Strength 0 leaves one point, thus no step; strength 1 leaves the whole path.
    """
    # Rounded, because 0.29 of 100 steps is 29 and not the 28.999999999999996 of binary fractions.
    kept = round((len(path) - 1) * strength, 9)
    whole = int(kept)
    tail = path[len(path) - 1 - whole :]
    if kept == whole:
        return tail
    noisier, here = (schedule.timestep(point) for point in (path[len(path) - 2 - whole], tail[0]))
    return (schedule.point(here + (kept - whole) * (noisier - here)), *tail)
