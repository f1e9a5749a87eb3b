"""Laws of predictions: every conversion has an inverse, and all kinds give the same x0."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from editkit import InvalidParameter, Point, Prediction, add_noise, from_x0, to_x0
from editkit.testing import flow_path, vp_path

POINTS = (*vp_path(20, low=0.05, high=1.52), *flow_path(20, low=0.05, high=0.95))
KINDS: tuple[Prediction, ...] = get_args(Prediction)


def latents(seed: int) -> torch.Tensor:
    return torch.randn((2, 4, 5, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def far(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())


class TestPredictions:
    def test_conversions_are_inverse_in_both_orders(self) -> None:
        x, x0, predicted = latents(0), latents(1), latents(2)
        for point in POINTS:
            for kind in KINDS:
                assert far(to_x0(kind, from_x0(kind, x0, x, point), x, point), x0) < 1e-12, (kind, point)
                slack = 1e-12 / min(point)
                assert far(from_x0(kind, to_x0(kind, predicted, x, point), x, point), predicted) < slack, (kind, point)

    def test_predictions_match_their_definitions(self) -> None:
        x0, eps = latents(0), latents(1)
        for point in POINTS:
            x = add_noise(x0, eps, point)
            expected = {
                "epsilon": eps,
                "v_prediction": point.alpha * eps - point.sigma * x0,
                "sample": x0,
                "flow_prediction": eps - x0,
            }
            for kind in KINDS:
                assert far(from_x0(kind, x0, x, point), expected[kind]) < 1e-11, (kind, point)
                assert far(to_x0(kind, expected[kind], x, point), x0) < 1e-11, (kind, point)

    def test_pure_noise_is_refused_for_epsilon_alone(self) -> None:
        noise, x, x0 = Point(0.0, 1.0), latents(0), latents(1)
        with pytest.raises(InvalidParameter, match="v_prediction"):
            to_x0("epsilon", x, x, noise)
        for kind in KINDS[1:]:
            assert far(to_x0(kind, from_x0(kind, x0, x, noise), x, noise), x0) < 1e-12

    def test_an_unknown_kind_is_named(self) -> None:
        x = latents(0)
        for convert in (to_x0, from_x0):
            with pytest.raises(InvalidParameter, match="epsilon"):
                convert("epsilom", x, x, Point(0.5, 0.5))  # type: ignore[arg-type]
