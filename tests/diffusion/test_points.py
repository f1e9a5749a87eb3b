"""Laws of points: the forward process and its inverse."""

from __future__ import annotations

import math

import torch

from editkit import CLEAN, Point, add_noise, eps_of
from editkit.testing import flow_path, vp_path

POINTS = (*vp_path(20), *flow_path(20))


def latents(seed: int) -> torch.Tensor:
    return torch.randn((2, 4, 5, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class TestPoints:
    def test_the_noise_that_was_added_is_found_again(self) -> None:
        x0, eps = latents(0), latents(1)
        for point in POINTS:
            found = eps_of(add_noise(x0, eps, point), x0, point)
            assert torch.allclose(found, eps, rtol=0, atol=1e-12 / point.sigma), point

    def test_clean_is_clean(self) -> None:
        x0 = latents(0)
        assert torch.equal(add_noise(x0, latents(1), CLEAN), x0)
        assert CLEAN.angle == 0.0
        assert CLEAN.log_snr_half == math.inf

    def test_pure_noise_has_finite_angle_and_no_signal(self) -> None:
        noise = Point(0.0, 1.0)
        assert noise.angle == math.pi / 2
        assert noise.log_snr_half == -math.inf
        assert torch.equal(add_noise(latents(0), latents(1), noise), latents(1))

    def test_angle_grows_and_log_snr_falls_with_noise(self) -> None:
        for path in (vp_path(20), flow_path(20)):
            angles = [point.angle for point in path]
            ratios = [point.log_snr_half for point in path]
            assert angles == sorted(angles, reverse=True)
            assert ratios == sorted(ratios)
            for point in path:
                assert math.isclose(math.tan(point.angle), math.exp(-point.log_snr_half), rel_tol=1e-12)

    def test_mixing_happens_in_the_stated_shares(self) -> None:
        ones = torch.ones(1, 1, 1, 1, dtype=torch.float64)
        assert float(add_noise(2 * ones, 3 * ones, Point(0.5, 0.25))) == 1.75
