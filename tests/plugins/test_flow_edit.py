"""``flow-edit`` equals the paper's algorithm on flow models, extends it to others, and keeps the laws of edits."""

from __future__ import annotations

import dataclasses as dc
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from editkit_flow_edit.guidance import DistinctRows
from PIL import Image
from torch import Tensor

import editkit
from editkit import (
    Condition,
    Guidance,
    Point,
    PointBatch,
    RectifiedFlow,
    Schedule,
    VariancePreserving,
    from_x0,
    make_path,
    scaled_linear,
    start_at,
)
from editkit.testing import GaussianDenoiser, ToyBackend
from editkit.testing.suite import largest, random_latents, sample_image

TO_NOISE = VariancePreserving.from_betas(scaled_linear(), zero_terminal_snr=True)
SCHEDULES: dict[str, Schedule] = {
    "vp": VariancePreserving.from_betas(scaled_linear()),
    "vp to pure noise": TO_NOISE,
    "flow": RectifiedFlow(),
}
IMAGE = sample_image((16, 16))
PROMPTS = {"source": "a red apple", "target": "a green apple"}


class Curved(ToyBackend):
    """Data around two colours per prompt: estimates are not linear, so the evaluated noise matters."""

    def denoise(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        assert isinstance(point, Point)
        centre = condition["text"][..., None, None]
        away, total = x - point.alpha * centre, point.alpha**2 * self.variance + point.sigma**2
        half = 0.3 + centre.abs() / 2  # from the middle to either colour
        side = torch.tanh(point.alpha * half * away / total)
        return super().denoise(x, point, condition) + point.sigma**2 / total * half * side


class DistilledModel(Curved):
    """The same model, conditioned on the guidance scale: it applies guidance against the empty prompt itself."""

    provides = frozenset({"text", "distilled-guidance"})

    def with_guidance_scale(self, condition: Condition, scale: float) -> Condition:
        return {**condition, "scale": torch.full((len(condition["text"]), 1, 1, 1), scale, dtype=self.dtype)}

    def embed(self, prompts: Sequence[str]) -> Condition:
        return self.with_guidance_scale(super().embed(prompts), 1.0)

    def denoise(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        prompted, empty = (super(DistilledModel, self).denoise(x, point, c) for c in (condition, self.embed([""])))
        return empty + condition["scale"] * (prompted - empty)


def flow_edit(model: ToyBackend, **params: Any) -> editkit.Result:
    return editkit.apply("flow-edit", IMAGE, model=model, **{**PROMPTS, "seed": 0, "guidance": 1.0, **params})  # type: ignore[no-any-return]


def latent_edit(model: ToyBackend, **params: Any) -> Tensor:
    """The difference that an edit adds to the latents of the image."""
    latents = flow_edit(model, **params).latents
    assert latents is not None
    return latents - encode(model)


def encode(model: ToyBackend) -> Tensor:
    return model.encode(torch.from_numpy(np.array(IMAGE, dtype=np.float32)).permute(2, 0, 1)[None] / 255)


def between_prompts(model: ToyBackend) -> Tensor:
    """From the mean of the one prompt to that of the other, (1, 3, 1, 1)."""
    source, target = (model.embed([PROMPTS[name]])["text"] for name in ("source", "target"))
    return (target - source)[..., None, None]


def flowalign(model: ToyBackend, steps: int, guidance: float, terminal: float) -> Tensor:
    """The edited latents (1, 3, h, w) of rectified flow by the authors' loop, on the noises of seed 0."""
    clean, path = encode(model), make_path(model.schedule, steps, model.grid)
    random = torch.Generator().manual_seed(0)
    noises = {p: torch.randn(clean.shape, generator=random).double() for p in path[-2::-1]}

    def velocity(x: Tensor, p: Point, prompt: str) -> Tensor:
        scale, condition = p.alpha + p.sigma, model.embed([PROMPTS[prompt]])
        return (x - model.denoise(scale * x, p, condition)) / (p.sigma / scale)

    z = clean
    for p, q in itertools.pairwise(path):
        sigma, after = (point.sigma / (point.alpha + point.sigma) for point in (p, q))
        noised = (1 - sigma) * clean + sigma * noises[p]
        edited = z + noised - clean
        against, at_source = velocity(edited, p, "source"), velocity(noised, p, "source")
        towards = against + guidance * (velocity(edited, p, "target") - against)
        pull = noised - sigma * at_source - (edited - sigma * towards)
        z = z + (after - sigma) * (towards - at_source) + terminal * pull
    return z


def uniedit(model: ToyBackend, steps: int, strength: float, omega: float) -> Tensor:
    """The edited latents (1, 3, h, w) of rectified flow by Uni-Inv and Uni-Edit, in velocities as in the paper."""
    path = make_path(model.schedule, steps, dc.replace(model.grid, ends_clean=False))
    path = start_at(model.schedule, path, strength)
    source, target = (model.embed([PROMPTS[name]]) for name in ("source", "target"))

    def velocity(x: Tensor, p: Point, condition: Condition) -> Tensor:
        return (x - model.denoise(x, p, condition)) / p.sigma

    z = encode(model)
    v = velocity(z, path[-1], source)
    for p, q in itertools.pairwise(path[::-1]):
        v = velocity(z + (q.sigma - p.sigma) * v, q, source)
        z = z + (q.sigma - p.sigma) * v
    for p, q in itertools.pairwise(path):
        at_source, at_target = velocity(z, p, source), velocity(z, p, target)
        mask = (at_target - at_source).abs().mean(1, keepdim=True)
        mask = (mask - mask.min()) / (mask.max() - mask.min())
        fused = mask * at_target + (1 - mask) * at_source
        z = z + (q.sigma - p.sigma) * (fused + omega * (1 + mask) * (at_target - at_source))
    return z


class TestUniEdit:
    """UniEdit-Flow (arXiv 2504.13109) as an operation."""

    def test_uni_edit_equals_the_steps_of_the_paper(self) -> None:
        for settings in ((15, 0.6, 5.0), (6, 0.5, 1.0), (5, 0.8, 2.0)):
            steps, strength, omega = settings
            params = {} if settings == (15, 0.6, 5.0) else {"steps": steps, "strength": strength, "guidance": omega}
            model = Curved(schedule=RectifiedFlow())
            result = editkit.apply("uni-edit", IMAGE, model=model, seed=0, cache=False, **PROMPTS, **params)
            assert largest(result.latents - uniedit(model, *settings)) < 1e-9, settings
            kept = round(steps * strength)
            assert result.report.network_samples == kept + 1 + 3 * kept, settings

    def test_equal_prompts_and_strength_0_return_the_image(self) -> None:
        for schedule, inverter in itertools.product(SCHEDULES.values(), ("ddim-corrected", "pinned", "aligned")):
            model = Curved(schedule=schedule)
            params = {**PROMPTS, "seed": 0, "inverter": inverter, "steps": 5}
            for same in ({"target": PROMPTS["source"]}, {"strength": 0.0}):
                edited = editkit.apply("uni-edit", IMAGE, model=model, **{**params, **same})
                assert edited.image.tobytes() == IMAGE.tobytes()

    def test_a_negative_prompt_has_no_effect_and_a_warning(self) -> None:
        model = Curved(schedule=RectifiedFlow())
        report = editkit.apply("uni-edit", IMAGE, model=model, steps=2, negative_prompt="a plum", **PROMPTS).report
        assert "has no effect: uni-edit guides against the source prompt" in report.warnings[0]


class TestClosedForm:
    """The method on models whose estimates have a closed form."""

    def test_flow_edit_moves_an_image_from_one_mean_to_the_other(self) -> None:
        """The edit is the end of the probability flow of a Gaussian around the difference of means, from 0."""
        for kind, schedule in SCHEDULES.items():
            model = ToyBackend(schedule=schedule)
            difference = between_prompts(model)
            errors = []
            for steps in (50, 100, 200):
                path = make_path(model.schedule, steps, model.grid)
                expected = GaussianDenoiser(difference).transport(torch.zeros_like(difference), path[0], path[-1])
                errors.append(largest(latent_edit(model, steps=steps) - expected))
            assert errors[-1] < 0.02, (kind, errors)
            pairs = itertools.pairwise(errors)
            assert all(fine < 0.6 * coarse or coarse < 1e-9 for coarse, fine in pairs), (kind, errors)
            assert largest(latent_edit(model, steps=200) - difference) < 0.1, kind

    def test_a_flow_model_and_one_that_keeps_variance_agree_as_steps_grow(self) -> None:
        models = [Curved(schedule=schedule) for schedule in (RectifiedFlow(), TO_NOISE)]
        apart = []
        for steps in (10, 300):
            flow, vp = (latent_edit(model, steps=steps, averages=8, spacing="trailing") for model in models)
            apart.append(float((flow - vp).square().mean().sqrt() / flow.square().mean().sqrt()))
        assert apart[1] < 0.01, apart
        assert apart[1] < 0.4 * apart[0], apart

    def test_every_solver_gives_the_same_edit(self) -> None:
        model, steps = ToyBackend(), 100
        difference = between_prompts(model)
        for sampler in ("ddim", "euler", "heun", "dpmpp-2m", "dpmpp-3m"):
            spec = editkit.samplers()[sampler]
            path = make_path(model.schedule, steps, model.grid, extra_node=spec.extra_node, to_zero=spec.ends_at_zero)
            expected = GaussianDenoiser(difference).transport(torch.zeros_like(difference), path[0], path[-1])
            assert largest(latent_edit(model, steps=steps, sampler=sampler) - expected) < 0.01, sampler

    def test_flow_edit_equals_the_paper_s_algorithm_on_rectified_flow(self) -> None:
        """Algorithm 1: velocities of ``Z + noised source - source`` and of the noised source, averaged over noises."""
        model, steps, noises = Curved(schedule=RectifiedFlow()), 6, 2
        clean = encode(model)

        def velocity(x: Tensor, p: Point, prompt: str, scale: float) -> Tensor:
            prompted, empty = (model.denoise(x, p, model.embed([text])) for text in (prompt, ""))
            return from_x0("flow_prediction", empty + scale * (prompted - empty), x, p)

        for strength, here, there in ((1.0, 1.0, 1.0), (0.5, 1.5, 4.0), (0.4, 0.0, 2.0)):
            path = start_at(model.schedule, make_path(model.schedule, steps, model.grid), strength)
            random = torch.Generator().manual_seed(0)
            samples = {p: torch.randn((noises, *clean.shape), generator=random).double() for p in path[-2::-1]}
            z = clean
            for p, q in itertools.pairwise(path):
                velocities = []
                for noise in samples[p]:
                    noised = (1 - p.sigma) * clean + p.sigma * noise
                    towards = velocity(noised + z - clean, p, PROMPTS["target"], there)
                    velocities.append(towards - velocity(noised, p, PROMPTS["source"], here))
                z = z + (q.sigma - p.sigma) * torch.stack(velocities).mean(0)
            scales = {"source_guidance": here, "guidance": there}
            edit = latent_edit(model, steps=steps, averages=noises, strength=strength, **scales)
            assert largest(edit - (z - clean)) < 1e-9, (strength, here, there)

    def test_a_guidance_distilled_model_is_edited_like_a_guided_one(self) -> None:
        for here in (1.5, 4.0):
            params = {"steps": 6, "source_guidance": here, "guidance": 4.0, "negative_prompt": ""}
            assert largest(latent_edit(DistilledModel(), **params) - latent_edit(Curved(), **params)) < 1e-12
            assert flow_edit(DistilledModel(), **params).report.network_samples == 12


class TestTerminalTerm:
    """The terminal term of FlowAlign, and its number of evaluations."""

    def test_flow_edit_equals_flowalign_in_the_latents_of_rectified_flow(self) -> None:
        """The authors' update: the source unguided, the edit guided against the source prompt, and the pull.

        Latents of another schedule are those of rectified flow times ``alpha + sigma``.
        """
        steps, guidance, terminal = 6, 4.0, 0.05
        for kind, schedule in SCHEDULES.items():
            model = Curved(schedule=schedule)
            z = flowalign(model, steps, guidance, terminal)
            result = flow_edit(model, steps=steps, guidance=guidance, terminal=terminal)
            assert result.latents is not None
            end = make_path(schedule, steps, model.grid)[-1]
            error = largest(result.latents - encode(model) - (end.alpha + end.sigma) * (z - encode(model)))
            assert error < 1e-9, f"{kind}: off by {error:.1e}"
            assert result.report.network_samples == 3 * steps

    def test_a_terminal_weight_brings_the_edit_nearer_to_the_source(self) -> None:
        for kind, schedule in SCHEDULES.items():
            model = Curved(schedule=schedule)
            sizes = [float(latent_edit(model, steps=8, terminal=weight).norm()) for weight in (0.0, 0.03, 0.1)]
            assert sizes == sorted(sizes, reverse=True), (kind, sizes)
            assert sizes[-1] < 0.95 * sizes[0], (kind, sizes)

    def test_rows_are_evaluated_once_where_conditions_are_equal(self) -> None:
        """Guidance without repeated rows gives the estimates of guidance with them, bit for bit."""
        model, point, x = Curved(), Point(0.6, 0.8), random_latents(4, shape=(3, 8, 8))
        counts: list[int] = []

        def network(x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
            counts.append(len(x))
            return model.denoise(x, point, condition)

        def condition(*prompts: str) -> Condition:
            return model.embed(list(prompts))

        against_source = [condition("a", "a", "a", "a"), condition("a", "a", "b", "b")]
        two_scales = [condition("", "", "", ""), condition("", "", "b", "b"), condition("a", "a", "b", "b")]
        for conditions, weights, rows in ((against_source, (-2.0, 3.0), 6), (two_scales, (-3.0, 2.5, 1.5), 8)):
            guidance = Guidance(network, conditions, weights, rescale=0.5, sigma_high=0.9)
            assert torch.equal(DistinctRows.of(guidance)(x, point), guidance(x, point))
            assert counts == [rows, 4 * len(conditions)]
            counts.clear()
            outside = Point(0.1, 0.99)
            assert torch.equal(DistinctRows.of(guidance)(x, outside), guidance(x, outside))
            assert counts == [4, 4]
            counts.clear()


class TestParameters:
    """The effect of strength, averages and guidance."""

    def test_strength_is_the_share_of_the_path(self) -> None:
        model = ToyBackend()
        sizes, calls = [], []
        for strength in (0.0, 0.25, 0.5, 1.0):
            result = flow_edit(model, steps=8, strength=strength)
            assert result.latents is not None
            sizes.append(largest(result.latents - encode(model)))
            calls.append(result.report.network_calls)
        assert calls == [0, 2, 4, 8]
        assert sizes[0] == 0
        assert sizes == sorted(sizes)

    def test_a_step_is_one_network_call_for_any_number_of_noises(self) -> None:
        for averages, guidance, rows in ((1, 1.0, 2), (3, 1.0, 6), (1, 4.0, 3), (3, 4.0, 9)):
            report = flow_edit(ToyBackend(), steps=5, averages=averages, guidance=guidance).report
            assert report.network_calls == 5
            assert report.network_samples == 5 * rows

    def test_more_noises_reduce_the_variance_of_the_edit(self) -> None:
        def spread(averages: int) -> float:
            edits = [latent_edit(Curved(), steps=4, averages=averages, seed=seed) for seed in range(6)]
            return float(torch.stack(edits).std(0).mean())

        assert spread(16) < spread(1) / 2.5

    def test_guidance_enlarges_the_edit(self) -> None:
        model = ToyBackend()
        sizes = [float(latent_edit(model, steps=10, guidance=guidance).norm()) for guidance in (0.0, 1.0, 2.0)]
        assert sizes[0] < 1e-9
        assert sizes == sorted(sizes)


class TestLaws:
    """The laws of every edit, in latents."""

    def test_equal_prompts_give_the_source_bit_for_bit(self) -> None:
        plain, guided = {}, {"guidance": 7.5, "averages": 3}
        pulled = {"guidance": 13.5, "terminal": 0.01}
        random = {"sampler": "ddpm", "strength": 0.3, "guidance": 2.0, "negative_prompt": "b"}
        for schedule, params in itertools.product(SCHEDULES.values(), (plain, guided, pulled, random)):
            model = Curved(schedule=schedule)
            result = flow_edit(model, target=PROMPTS["source"], steps=4, **params)
            assert result.latents is not None
            assert torch.equal(result.latents, encode(model)), params
            assert result.image.tobytes() == IMAGE.tobytes(), params

    def test_a_mask_holds_the_edit_at_every_step(self) -> None:
        model = Curved()
        mask = Image.new("L", IMAGE.size)
        mask.paste(255, (8, 0, 16, 16))
        result = flow_edit(model, steps=6, averages=2, mask=mask)
        assert result.latents is not None
        change = result.latents - encode(model)
        assert largest(change[..., :8]) == 0
        assert largest(change[..., 8:]) > 0.1
        soft = flow_edit(model, steps=6, mask=Image.new("L", IMAGE.size, 128)).latents
        assert soft is not None
        assert 0 < largest(soft - encode(model)) < largest(change)


class TestVirtualInverter:
    """The same method as an inverter."""

    def test_prompt_edit_with_the_virtual_inverter_gives_the_same_edit(self) -> None:
        """With one noise and the whole path, prompt-edit from the noised image equals flow-edit."""
        model = Curved()
        params = {**PROMPTS, "seed": 4, "steps": 6, "guidance": 1.5}
        one = editkit.apply("flow-edit", IMAGE, model=model, **params)
        other = editkit.apply("prompt-edit", IMAGE, model=model, inverter="virtual", **params)
        assert largest(one.latents - other.latents) < 1e-12
        assert one.report.network_calls == other.report.network_calls == 6
        assert other.report.recon_psnr == other.report.vae_psnr

    def test_flow_edit_calls_no_network_during_inversion(self) -> None:
        inversion = editkit.invert(IMAGE, model=ToyBackend(), prompt="a", method="virtual", steps=5)
        assert inversion.report is not None
        assert inversion.report.network_calls == 0
