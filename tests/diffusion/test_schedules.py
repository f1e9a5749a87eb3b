"""Laws of schedules: timestep and point are inverse, and the tables are diffusers' own."""

from __future__ import annotations

import dataclasses as dc
import itertools
import math

import numpy as np
import pytest
from diffusers import DDIMScheduler

from editkit import (
    InvalidParameter,
    RectifiedFlow,
    ResolutionShift,
    Schedule,
    VariancePreserving,
    cosine,
    linear,
    scaled_linear,
)

BETAS = {"linear": linear, "scaled_linear": scaled_linear, "squaredcos_cap_v2": cosine}
RANGES = {"linear": (1e-4, 0.02), "scaled_linear": (0.00085, 0.012), "squaredcos_cap_v2": (1e-4, 0.02)}


def schedules() -> dict[str, Schedule]:
    created: dict[str, Schedule] = {name: VariancePreserving.from_betas(betas()) for name, betas in BETAS.items()}
    created["zero snr"] = VariancePreserving.from_betas(scaled_linear(), zero_terminal_snr=True)
    created["flow"] = RectifiedFlow()
    created["shifted flow"] = RectifiedFlow(shift=3.0)
    return created


class TestSchedules:
    def test_timestep_is_the_inverse_of_point(self) -> None:
        for name, schedule in schedules().items():
            for timestep in (schedule.first, 1, 2.5, 17, 333.3, 500, 998.75, schedule.last):
                assert abs(schedule.timestep(schedule.point(timestep)) - timestep) < 1e-8, (name, timestep)

    def test_noise_grows_with_the_timestep(self) -> None:
        for name, schedule in schedules().items():
            angles = [schedule.point(float(t)).angle for t in np.linspace(schedule.first, schedule.last, 400)]
            assert all(low < high for low, high in itertools.pairwise(angles)), name

    def test_points_lie_on_their_curve(self) -> None:
        for name, schedule in schedules().items():
            for timestep in (1, 2.5, 500, 998.75):
                alpha, sigma = schedule.point(timestep)
                on_curve = alpha + sigma if "flow" in name else alpha**2 + sigma**2
                assert math.isclose(on_curve, 1.0, abs_tol=1e-12), name

    def test_another_family_s_point_finds_its_timestep_by_its_noisiness(self) -> None:
        curved, straight = VariancePreserving.from_betas(scaled_linear()), RectifiedFlow()
        for timestep in (10, 500, 990):
            point = straight.point(straight.timestep(curved.point(timestep)))
            assert math.isclose(point.angle, curved.point(timestep).angle, abs_tol=1e-9)

    def test_tables_equal_those_of_diffusers(self) -> None:
        for kind, betas in BETAS.items():
            start, end = RANGES[kind]
            for zero in (False, True):
                theirs = DDIMScheduler(
                    beta_schedule=kind, beta_start=start, beta_end=end, rescale_betas_zero_snr=zero
                ).alphas_cumprod.double()
                ours = VariancePreserving.from_betas(betas(), zero_terminal_snr=zero).alphas_cumprod
                assert np.allclose(ours, theirs, rtol=0, atol=2e-6), (kind, zero)

    def test_zero_terminal_snr_ends_in_pure_noise_and_keeps_the_first_point(self) -> None:
        plain = VariancePreserving.from_betas(scaled_linear())
        zero = VariancePreserving.from_betas(scaled_linear(), zero_terminal_snr=True)
        assert zero.point(zero.last) == (0.0, 1.0)
        assert math.isclose(zero.point(0).alpha, plain.point(0).alpha, rel_tol=1e-12)

    def test_betas_out_of_range_are_refused(self) -> None:
        for betas in ([], [0.1], [0.0, 0.1], [0.5, 1.1], [math.nan, 0.1], [[0.1, 0.2]]):
            with pytest.raises(InvalidParameter, match="betas"):
                VariancePreserving.from_betas(np.array(betas))

    def test_shift_moves_inner_steps_towards_noise_and_keeps_the_ends(self) -> None:
        steps = np.array([1000.0, 600.0, 200.0])
        moved = RectifiedFlow(shift=3.0).shift_timesteps(steps)
        assert moved[0] == 1000.0
        assert np.all(moved[1:] > steps[1:])
        assert np.array_equal(RectifiedFlow().shift_timesteps(steps), steps)

    def test_a_sized_shift_lies_on_a_line_through_its_ends(self) -> None:
        shift = ResolutionShift(tokens=(16, 64), values=(0.5, 1.1), patch=2)
        sides = {8: 0.5, 16: 1.1, 12: 0.5 + 0.6 * 20 / 48}  # 16, 64 and 36 tokens
        for side, mu in sides.items():
            assert math.isclose(shift((4, side, side)), math.exp(mu))
            assert math.isclose(dc.replace(shift, exponential=False)((4, side, side)), mu)
        assert shift((4, 8, 32)) == shift((4, 16, 16))

    def test_a_schedule_of_a_size_spreads_its_steps_by_that_size_s_shift(self) -> None:
        steps, shape = np.array([1000.0, 600.0, 200.0]), (4, 128, 128)
        flow = RectifiedFlow(shift_of=ResolutionShift())
        assert np.array_equal(
            flow.for_shape(shape).shift_timesteps(steps), RectifiedFlow(shift=math.exp(1.15)).shift_timesteps(steps)
        )
        for schedule in schedules().values():
            assert schedule.for_shape(shape) == schedule

    def test_steps_are_stretched_to_a_terminal_sigma(self) -> None:
        steps = np.array([1000.0, 600.0, 200.0])
        plain, stretched = (RectifiedFlow(shift=2.0, terminal=end).shift_timesteps(steps) for end in (None, 0.1))
        assert stretched[0] == 1000.0
        assert math.isclose(stretched[-1], 100.0)
        assert np.allclose((1000 - stretched) * (1000 - plain[-1]), (1000 - plain) * 900, rtol=1e-12, atol=0)
        assert np.array_equal(RectifiedFlow(terminal=0.1).shift_timesteps(steps[:1]), steps[:1])
