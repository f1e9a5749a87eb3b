"""Laws of paths: spacings as diffusers has them, ends, and strength."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler

from editkit import (
    CLEAN,
    InvalidParameter,
    RectifiedFlow,
    Schedule,
    TimestepGrid,
    VariancePreserving,
    make_path,
    scaled_linear,
    start_at,
)
from editkit.diffusion.paths import timesteps

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

VP = VariancePreserving.from_betas(scaled_linear())
FLOW = RectifiedFlow(shift=3.0)
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
STEPS = (1, 2, 3, 7, 10, 25, 50, 333, 500)


def theirs(kind: Any, steps: int, **config: Any) -> list[int]:
    scheduler = kind(**BETAS, **config)
    scheduler.set_timesteps(steps)
    return [round(float(t)) for t in scheduler.timesteps]


class TestSpacings:
    def test_ddim_timesteps_are_those_of_diffusers(self) -> None:
        for spacing, offset in (("leading", 0), ("leading", 1), ("trailing", 0), ("linspace", 0)):
            for steps in STEPS:
                if spacing == "linspace" and steps == 1:
                    continue  # numpy gives the last timestep, diffusers the first
                expected = theirs(DDIMScheduler, steps, timestep_spacing=spacing, steps_offset=offset)
                assert timesteps(VP, steps, TimestepGrid(spacing, offset)) == expected, (spacing, steps)

    def test_dpm_solver_timesteps_are_those_of_diffusers(self) -> None:
        for spacing, offset in (("leading", 0), ("leading", 1), ("trailing", 0), ("linspace", 0)):
            for steps in STEPS:
                expected = theirs(DPMSolverMultistepScheduler, steps, timestep_spacing=spacing, steps_offset=offset)
                assert timesteps(VP, steps, TimestepGrid(spacing, offset), extra_node=True) == expected, (
                    spacing,
                    steps,
                )

    def test_karras_points_are_those_of_diffusers(self) -> None:
        for steps in (2, 10, 25):
            scheduler = EulerDiscreteScheduler(**BETAS, use_karras_sigmas=True)
            scheduler.set_timesteps(steps)
            path = make_path(VP, steps, TimestepGrid("karras"), to_zero=True)
            for sigma, point in zip(scheduler.sigmas.tolist(), path, strict=True):
                assert abs(point.sigma / point.alpha - sigma) < 1e-4 * (1 + sigma), steps

    def test_an_unknown_spacing_is_named(self) -> None:
        with pytest.raises(InvalidParameter, match="leading"):
            make_path(VP, 10, TimestepGrid("leadin"))  # type: ignore[arg-type]


class TestPaths:
    def grids(self) -> list[tuple[Schedule, TimestepGrid]]:
        spacings = ("leading", "trailing", "linspace", "karras", "distilled")
        return [(schedule, TimestepGrid(spacing)) for schedule in (VP, FLOW) for spacing in spacings]

    def test_a_path_has_a_point_more_than_steps_and_falls(self) -> None:
        for schedule, grid in self.grids():
            for steps in (1, 2, 10, 50):
                path = make_path(schedule, steps, grid)
                assert len(path) == steps + 1, (grid, steps)
                falls = all(high.angle >= low.angle for high, low in itertools.pairwise(path))
                assert falls, (grid, steps)

    def test_a_path_ends_at_the_first_timestep_or_at_zero(self) -> None:
        for schedule, grid in self.grids():
            assert make_path(schedule, 10, grid)[-1] == schedule.point(schedule.first)
            assert make_path(schedule, 10, grid, to_zero=True)[-1] == CLEAN
            assert make_path(schedule, 10, TimestepGrid(grid.spacing, ends_clean=True))[-1] == CLEAN

    def test_more_steps_than_timesteps_are_refused(self) -> None:
        few = VariancePreserving.from_betas(scaled_linear(20))
        assert len(make_path(few, 20, TimestepGrid())) == 21
        for steps, extra in ((0, False), (21, False), (20, True)):
            with pytest.raises(InvalidParameter, match=f"steps={steps}"):
                make_path(few, steps, TimestepGrid(), extra_node=extra)

    def test_a_path_of_as_many_steps_as_there_are_timesteps_falls_at_every_step(self) -> None:
        few = VariancePreserving.from_betas(scaled_linear(20))
        for spacing, offset, extra in itertools.product(("leading", "trailing", "linspace"), (0, 1), (False, True)):
            path = make_path(few, 20 - extra, TimestepGrid(spacing, offset), extra_node=extra, to_zero=True)  # type: ignore[arg-type]
            assert all(high.angle > low.angle for high, low in itertools.pairwise(path)), (spacing, offset, extra)

    def test_no_step_of_an_inversion_stands_still(self) -> None:
        for offset in (0, 1):
            path = make_path(VP, 50, TimestepGrid("leading", offset))
            still = [index for index, (p, q) in enumerate(itertools.pairwise(path)) if p == q]
            assert still == ([] if offset else [49]), "a leading grid without offset ends where it already is"


class TestStrength:
    def test_strength_zero_leaves_no_step_and_one_leaves_the_path(self) -> None:
        for schedule, grid in TestPaths().grids():
            path = make_path(schedule, 13, grid)
            assert start_at(schedule, path, 0.0) == path[-1:]
            assert start_at(schedule, path, 1.0) == path

    def test_whole_steps_are_kept_whole(self) -> None:
        path = make_path(VP, 100, TimestepGrid())
        for percent in range(101):
            assert start_at(VP, path, percent / 100) == path[100 - percent :], percent

    def test_a_fraction_is_a_shorter_step(self) -> None:
        path = make_path(VP, 10, TimestepGrid())
        tail = start_at(VP, path, 0.55)
        assert tail[1:] == path[5:]
        between = VP.timestep(tail[0])
        assert abs(between - (VP.timestep(path[4]) + VP.timestep(path[5])) / 2) < 1e-6

    def test_the_start_moves_smoothly_and_only_up(self) -> None:
        for schedule, grid in TestPaths().grids():
            path = make_path(schedule, 7, grid)
            angles = [start_at(schedule, path, share / 500)[0].angle for share in range(501)]
            climbs = [high - low for low, high in itertools.pairwise(angles)]
            assert min(climbs) >= -1e-12, grid
            assert max(climbs) < 0.1, grid
