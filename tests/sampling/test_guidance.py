"""Laws of guidance: the formula, the calls it costs, rescale and interval."""

from __future__ import annotations

from typing import Any, get_args

import torch
from torch import Tensor

from editkit import (
    Condition,
    Conditioned,
    Guidance,
    Point,
    Prediction,
    Session,
    blend_conditions,
    classifier_free,
    from_x0,
)
from editkit.diffusion.denoiser import repeat_condition, stack_conditions
from editkit.sampling.guidance import rescale_std
from editkit.sampling.params import DrawingParams
from editkit.testing import ToyBackend, vp_path
from editkit.testing.suite import toy_session

HALF = Point(0.8, 0.6)


class Counting:
    """The toy network, counting calls and rows."""

    def __init__(self) -> None:
        self.model = ToyBackend()
        self.rows: list[int] = []

    def __call__(self, x: Tensor, point: Point, condition: Condition) -> Tensor:
        self.rows.append(len(x))
        return self.model.denoise(x, point, condition)


def latents(rows: int = 2) -> Tensor:
    return torch.randn((rows, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def guided(network: Counting, scale: float, **options: Any) -> Guidance:
    prompts, negative = network.model.embed(["a", "b"]), network.model.embed(["", ""])
    return classifier_free(network, prompts, negative, scale, **options)


class TestGuidance:
    def test_guidance_equals_its_formula(self) -> None:
        network, x = Counting(), latents()
        prompted = network.model.denoise(x, HALF, network.model.embed(["a", "b"]))
        without = network.model.denoise(x, HALF, network.model.embed(["", ""]))
        for scale in (0.0, 0.5, 3.0, 7.5):
            output = guided(network, scale)(x, HALF)
            assert torch.allclose(output, without + scale * (prompted - without), rtol=0, atol=1e-12), scale

    def test_guidance_evaluates_both_estimates_in_one_call(self) -> None:
        network = Counting()
        guided(network, 7.5)(latents(), HALF)
        assert network.rows == [4]

    def test_scale_one_evaluates_only_the_prompt(self) -> None:
        network, x = Counting(), latents()
        output = guided(network, 1.0)(x, HALF)
        assert network.rows == [2]
        assert torch.equal(output, Conditioned(network, network.model.embed(["a", "b"]))(x, HALF))

    def test_scale_zero_is_the_negative_prompt(self) -> None:
        network, x = Counting(), latents()
        without = network.model.denoise(x, HALF, network.model.embed(["", ""]))
        assert torch.allclose(guided(network, 0.0)(x, HALF), without, rtol=0, atol=1e-12)

    def test_outside_its_interval_it_is_off(self) -> None:
        network, x = Counting(), latents()
        for point, rows in ((Point(0.9, 0.3), 2), (HALF, 4), (Point(0.1, 0.95), 2)):
            network.rows.clear()
            guided(network, 7.5, sigma_low=0.5, sigma_high=0.9)(x, point)
            assert network.rows == [rows], point

    def test_rescale_brings_the_deviation_of_the_network_s_output_back(self) -> None:
        network, x = Counting(), latents()
        estimate = network.model.denoise(x, HALF, network.model.embed(["a", "b"]))
        for kind in get_args(Prediction):
            rescaled = (guided(network, 7.5, rescale=share, prediction=kind)(x, HALF) for share in (0, 0.5, 1))
            prompted, free, half, full = (from_x0(kind, x0, x, HALF) for x0 in (estimate, *rescaled))
            axes = (1, 2, 3)
            assert torch.allclose(full.std(axes), prompted.std(axes), rtol=1e-12, atol=0)
            assert torch.allclose(half, (free + full) / 2, rtol=0, atol=1e-12)
            assert torch.equal(rescale_std(free, prompted, 0.0), free)

    def test_rows_do_not_know_of_each_other(self) -> None:
        network, x = Counting(), latents()
        together = guided(network, 7.5, rescale=0.7)(x, HALF)
        alone = [
            classifier_free(network, network.model.embed([word]), network.model.embed([""]), 7.5, rescale=0.7)(
                row[None], HALF
            )
            for word, row in zip("ab", x, strict=True)
        ]
        assert torch.allclose(together, torch.cat(alone), rtol=0, atol=1e-12)


class TestConditions:
    def test_conditions_stack_repeat_and_blend(self) -> None:
        one, other = ({"text": torch.full((1, 2), value)} for value in (1.0, 3.0))
        both = stack_conditions([one, other])
        assert both["text"].tolist() == [[1, 1], [3, 3]]
        assert repeat_condition(one, 3)["text"].tolist() == [[1, 1]] * 3
        shares = torch.tensor([[1.0, 0.0], [0.25, 0.75]])
        assert blend_conditions(both, shares)["text"].tolist() == [[1, 1], [2.5, 2.5]]


class TestSessionGuidance:
    def calls(self, **params: float) -> int:
        session: Session = toy_session(ToyBackend(), DrawingParams.parse("toy", dict(params)))
        path = vp_path(10)
        session.draw(session.noise(), path, session.embed("a red apple"))
        assert session.usage.calls == 10
        return session.usage.samples

    def test_an_interval_of_the_path_is_guided_and_no_more(self) -> None:
        assert self.calls(guidance=7.5) == 20
        assert self.calls(guidance=1.0) == 10
        assert self.calls(guidance=7.5, guidance_start=0.2, guidance_end=0.7) == 15
        assert self.calls(guidance=7.5, guidance_start=0.5, guidance_end=0.5) == 10
