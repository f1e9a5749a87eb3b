"""Laws of the guidance that a backend brings: rules on predictions, and guidance inside one evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import editkit
from editkit import (
    Condition,
    InvalidParameter,
    MissingCapability,
    Point,
    PointBatch,
    PromptedNorm,
    RectifiedFlow,
    combine_predictions,
    from_x0,
)
from editkit.sampling.guidance import Guidance
from editkit.sampling.guidance_rules import weighted_sum
from editkit.testing import ToyBackend

HALF = Point(0.4, 0.6)
PROMPTS = {"source": "a red apple", "target": "a green pear"}
IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8))


class PerToken(ToyBackend):
    """A flow whose guided velocity has the norm of the prompted one in every token of 2 x 2 latents."""

    def combine(
        self, estimates: Sequence[Tensor], weights: Sequence[float], x: Tensor, point: Point | PointBatch
    ) -> Tensor:
        rule = PromptedNorm("token", patch=2)
        return combine_predictions(self.prediction, rule, estimates, weights, x, point)


class Own(ToyBackend):
    """A model that guides inside one evaluation, from a negative prompt in its condition."""

    provides = frozenset({"text", "own-guidance"})
    takes_negative_prompt = True

    def embed(self, prompts: Sequence[str]) -> Condition:
        condition = super().embed(prompts)
        return self.with_guidance(condition, condition, 1.0)

    def with_guidance(self, condition: Condition, negative: Condition, scale: float) -> Condition:
        if scale < 1:
            raise InvalidParameter(f"guidance={scale:g} is not allowed: this family guides from 1 on")
        text, rows = condition["text"], len(condition["text"])
        against = text if scale == 1 else negative["text"]
        return {"text": text, "against": against, "scale": torch.full((rows, 1, 1, 1), scale, dtype=self.dtype)}

    def denoise(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        prompted = super().denoise(x, point, {"text": condition["text"]})
        negative = super().denoise(x, point, {"text": condition["against"]})
        return negative + condition["scale"] * (prompted - negative)


def flow(kind: type[ToyBackend] = ToyBackend) -> ToyBackend:
    return kind(schedule=RectifiedFlow(1000))


def noisy(rows: int = 2) -> Tensor:
    return torch.randn((rows, 3, 8, 4), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def estimates(model: ToyBackend, x: Tensor, point: Point | PointBatch) -> tuple[Tensor, Tensor]:
    negative, prompted = (model.denoise(x, point, model.embed([prompt] * len(x))) for prompt in ("", "a red apple"))
    return negative, prompted


def tokens(latents: Tensor) -> Tensor:
    """The tokens (B, T, 4 C) of latents in squares of 2 x 2."""
    return torch.nn.functional.pixel_unshuffle(latents, 2).flatten(2).mT


class TestRules:
    def test_the_norm_of_each_token_is_the_prompted_one(self) -> None:
        """The formula of Qwen-Image's pipeline, on packed velocities."""
        x, model = noisy(), flow()
        negative, prompted = estimates(model, x, HALF)
        x0 = combine_predictions("flow_prediction", PromptedNorm("token", 2), (negative, prompted), (-3, 4), x, HALF)
        velocities = [tokens(from_x0("flow_prediction", one, x, HALF)) for one in (negative, prompted)]
        guided = velocities[0] + 4 * (velocities[1] - velocities[0])
        expected = guided * (velocities[1].norm(dim=-1, keepdim=True) / guided.norm(dim=-1, keepdim=True))
        difference = tokens(from_x0("flow_prediction", x0, x, HALF)) - expected
        assert float(difference.abs().max()) < 1e-12
        assert float((expected - guided).abs().max()) > 0.1

    @pytest.mark.parametrize(("part", "axes"), [("row", (3,)), ("whole", (1, 2, 3))])
    def test_rows_and_wholes_get_the_prompted_norm(self, part: Any, axes: tuple[int, ...]) -> None:
        guided, prompted = 3 * noisy(), noisy().flip(0)
        scaled = PromptedNorm(part)(guided, prompted)
        norms = [torch.linalg.vector_norm(one, dim=axes) for one in (scaled, prompted, guided)]
        assert torch.allclose(norms[0], norms[1], rtol=1e-12, atol=0)
        assert not torch.allclose(norms[2], norms[1], rtol=0.1, atol=0)

    def test_a_limit_reduces_large_norms_and_no_small_ones(self) -> None:
        prompted, rule = noisy(1), PromptedNorm("whole", limit=1.5)
        assert torch.equal(rule(1.4 * prompted, prompted), 1.4 * prompted)
        assert torch.allclose(rule(4 * prompted, prompted), 1.5 * prompted, rtol=0, atol=1e-12)

    def test_a_part_of_zeros_stays_zero(self) -> None:
        zeros = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
        assert torch.equal(PromptedNorm("token", 2)(zeros, noisy(1)[:, :, :4]), zeros)

    @pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample", "flow_prediction"])
    def test_without_a_change_predictions_combine_like_x0(self, kind: Any) -> None:
        x, point = noisy(), PointBatch((HALF, Point(0.8, 0.6)))
        pair = estimates(flow(), x, point)
        combined = combine_predictions(kind, lambda guided, _: guided, pair, (-2, 3), x, point)
        assert torch.allclose(combined, weighted_sum(pair, (-2, 3)), rtol=0, atol=1e-12)

    def test_at_sigma_zero_the_sum_is_plain(self) -> None:
        x, point = noisy(), PointBatch((HALF, Point(1.0, 0.0)))
        pair, rule = estimates(flow(), x, point), PromptedNorm("whole")
        mixed = combine_predictions("flow_prediction", rule, pair, (-2, 3), x, point)
        first = combine_predictions("flow_prediction", rule, [one[:1] for one in pair], (-2, 3), x[:1], HALF)
        assert torch.allclose(mixed[:1], first, rtol=0, atol=1e-12)
        assert torch.equal(mixed[1:], weighted_sum(pair, (-2, 3))[1:])

    def test_the_session_guides_by_the_rule_of_the_model(self) -> None:
        """Batched points and single rows give one result; scale 1 is the prompt's estimate, bit for bit."""
        model, x = flow(PerToken), noisy()
        conditions = model.embed(["", ""]), model.embed(["a red apple"] * 2)
        guided = Guidance(model.denoise, conditions, (-3, 4), rule=model.combine)(x, HALF)
        expected = model.combine(estimates(model, x, HALF), (-3, 4), x, HALF)
        assert torch.equal(guided, expected)
        single = Guidance(model.denoise, conditions, (0, 1), rule=model.combine)(x, HALF)
        assert torch.equal(single, estimates(model, x, HALF)[1])
        images = [generate(kind, guidance=3.0).latents for kind in (ToyBackend, PerToken)]
        assert not torch.equal(*images)
        images = [generate(kind, guidance=1.0).latents for kind in (ToyBackend, PerToken)]
        assert torch.equal(*images)

    @pytest.mark.parametrize("inverter", ["pinned", "null-text", "edit-friendly", "negative-prompt"])
    def test_inversions_follow_the_rule_of_the_model(self, inverter: str) -> None:
        """An edit without a change returns the source whatever the rule, and an edit with one depends on it."""
        same = {"source": "a red apple", "target": "a red apple"}
        edits = [prompt_edit(kind, inverter=inverter, guidance=4.0, **same) for kind in (ToyBackend, PerToken)]
        assert edits[1].image.tobytes() == IMAGE.tobytes() == edits[0].image.tobytes()
        edits = [prompt_edit(kind, inverter=inverter, guidance=4.0) for kind in (ToyBackend, PerToken)]
        assert not torch.equal(edits[0].latents, edits[1].latents)


def generate(kind: type[ToyBackend], **params: Any) -> Any:
    return editkit.apply("generate", model=flow(kind), prompt="a red apple", seed=3, steps=6, **params)


def prompt_edit(kind: type[ToyBackend], **params: Any) -> Any:
    given = {"steps": 5, "seed": 3, **PROMPTS, **params}
    return editkit.apply("prompt-edit", IMAGE, model=flow(kind), cache=False, **given)


class TestOwnGuidance:
    @pytest.mark.parametrize(
        "params",
        [
            {"guidance": 4.0},
            {"guidance": 4.0, "negative_prompt": "a blue plum"},
            {"guidance": 4.0, "guidance_start": 0.3, "guidance_end": 0.7},
            {"guidance": 1.0},
        ],
    )
    def test_one_evaluation_draws_what_two_estimates_draw(self, params: dict[str, Any]) -> None:
        two, one = (generate(kind, **params) for kind in (ToyBackend, Own))
        assert float((two.latents - one.latents).abs().max()) < 1e-12
        assert one.report.network_samples == 6

    def test_guidance_one_does_not_guide(self) -> None:
        assert torch.equal(generate(Own, guidance=1.0).latents, generate(ToyBackend, guidance=1.0).latents)

    def test_edits_equal_those_of_two_estimates(self) -> None:
        for operation, params in (
            ("prompt-edit", {"guidance": 3.0}),
            ("prompt-edit", {"guidance": 3.0, "negative_prompt": "a blue plum"}),
            ("flow-edit", {"guidance": 3.0}),
            ("flow-edit", {"guidance": 4.0, "source_guidance": 1.5}),
        ):
            given = {"steps": 5, "seed": 3, **PROMPTS, **params}
            two, one = (
                editkit.apply(operation, IMAGE, model=flow(kind), cache=False, **given).latents
                for kind in (ToyBackend, Own)
            )
            assert float((two - one).abs().max()) < 1e-12, (operation, params)

    def test_what_needs_two_estimates_is_refused(self) -> None:
        with pytest.raises(MissingCapability, match="guidance_rescale= needs guidance by two estimates"):
            generate(Own, guidance=3.0, guidance_rescale=0.5)
        with pytest.raises(MissingCapability, match="negative-prompt needs text and guidance by two estimates"):
            prompt_edit(Own, inverter="negative-prompt")

    def test_a_scale_that_the_family_lacks_is_refused(self) -> None:
        with pytest.raises(InvalidParameter, match=r"guidance=0\.5 is not allowed"):
            generate(Own, guidance=0.5)
