"""Models of one to four steps: latent consistency and turbo models, their samplers, and few-step-edit."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    EulerAncestralDiscreteScheduler,
    LatentConsistencyModelImg2ImgPipeline,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    StableDiffusionPipeline,
)
from PIL import Image
from torch import Tensor

import editkit
from editkit import Backend, InvalidParameter, MissingCapability, TimestepGrid, make_path
from editkit.images.tensors import to_tensor
from editkit.testing import stable_diffusion_folder
from editkit.testing.suite import assert_agree, largest, sample_image
from editkit.testing.tiny import latent_consistency_folder

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PROMPT = "a red apple on white"
STEPS = (1, 2, 4)


@functools.cache
def consistency() -> tuple[Backend, Any]:
    """A latent consistency model, loaded by editkit and diffusers."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = latent_consistency_folder(Path(scratch))
        return editkit.load_model(folder, device="cpu"), silence(LatentConsistencyModelPipeline.from_pretrained(folder))


@functools.cache
def turbo(spacing: str) -> tuple[Backend, Any]:
    """A model whose folder has the scheduler of turbo models, loaded by editkit and diffusers."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = stable_diffusion_folder(Path(scratch))
        config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
        scheduler = EulerAncestralDiscreteScheduler.from_config({**config, "timestep_spacing": spacing})
        scheduler.save_pretrained(folder / "scheduler")
        index = json.loads((folder / "model_index.json").read_text())
        index["scheduler"] = ["diffusers", "EulerAncestralDiscreteScheduler"]
        (folder / "model_index.json").write_text(json.dumps(index))
        return editkit.load_model(folder, device="cpu"), silence(StableDiffusionPipeline.from_pretrained(folder))


def silence(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("distilled", [50, 25])
def test_timesteps_are_those_of_the_distillation(distilled: int) -> None:
    scheduler, schedule = LCMScheduler(original_inference_steps=distilled), consistency()[0].schedule
    for steps in range(1, distilled + 1):
        scheduler.set_timesteps(steps)
        path = make_path(schedule, steps, TimestepGrid("distilled", distilled=distilled), to_zero=True)
        assert [round(schedule.timestep(point)) for point in path[:-1]] == scheduler.timesteps.tolist()


def test_the_scheduler_config_determines_the_distilled_grid(tmp_path: Path) -> None:
    folder = latent_consistency_folder(tmp_path / "lcm")
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"original_inference_steps": 20}))
    grid = editkit.load_model(folder).grid
    assert (grid.spacing, grid.distilled) == ("distilled", 20)


@pytest.mark.slow
def test_more_steps_than_were_distilled_are_refused() -> None:
    draw = functools.partial(editkit.apply, "generate", model=consistency()[0], steps=51, seed=0)
    with pytest.raises(InvalidParameter, match=r"steps=51 .* 50 timesteps; take fewer steps, or another spacing"):
        draw()
    assert draw(spacing="trailing").report.steps == 51


def test_lcm_uses_the_distilled_grid_unless_a_spacing_is_given() -> None:
    model = turbo("leading")[0]
    draw = functools.partial(editkit.apply, "generate", model=model, prompt=PROMPT, steps=3, seed=7, sampler="lcm")
    assert torch.equal(draw().latents, draw(spacing="distilled").latents)
    assert not torch.equal(draw().latents, draw(spacing="leading").latents)


@pytest.mark.parametrize("steps", STEPS)
def test_latent_consistency_agrees_with_diffusers(steps: int) -> None:
    model, pipeline = consistency()
    ends = []
    for guidance in (8.5, 2.0, 1.0):
        random = torch.Generator().manual_seed(7)
        theirs = pipeline(
            PROMPT, num_inference_steps=steps, guidance_scale=guidance, generator=random, output_type="latent"
        ).images
        ours = editkit.apply(
            "generate", model=model, prompt=PROMPT, sampler="lcm", steps=steps, guidance=guidance, seed=7
        )
        assert_agree(ours.latents, theirs)
        assert ours.report.network_samples == steps, (
            "a network conditioned on its guidance scale is evaluated once per step"
        )
        ends.append(ours.latents)
    assert largest(ends[0] - ends[2]) > 1e-2, "the guidance scale has no effect"


@pytest.mark.parametrize("steps", STEPS)
def test_latent_consistency_img2img_agrees_with_diffusers(steps: int) -> None:
    """At strength 1: below it diffusers keeps the number of steps, and editkit their positions."""
    model, pipeline = consistency()
    image = sample_image((16, 16))
    with torch.no_grad():
        clean = model.encode(to_tensor(image))
    theirs = silence(LatentConsistencyModelImg2ImgPipeline(**pipeline.components))(
        PROMPT,
        image=clean,
        strength=1.0,
        num_inference_steps=steps,
        guidance_scale=8.5,
        generator=torch.Generator().manual_seed(7),
        output_type="latent",
    ).images
    ours = editkit.apply(
        "img2img",
        image,
        model=model,
        prompt=PROMPT,
        strength=1.0,
        sampler="lcm",
        steps=steps,
        guidance=8.5,
        seed=7,
    )
    assert_agree(ours.latents, theirs)


def test_the_omitted_boundary_scalings_are_negligible() -> None:
    scheduler = LCMScheduler()
    skips, outs = zip(
        *(scheduler.get_scalings_for_boundary_condition_discrete(t) for t in range(19, 1000)), strict=True
    )
    assert max(skips) < 1e-5
    assert min(outs) > 1 - 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("guidance", [7.5, 1.0])
def test_ancestral_euler_agrees_with_diffusers(guidance: float) -> None:
    model, pipeline = turbo("leading")
    for steps in (1, 2, 4, 20):
        random = torch.Generator().manual_seed(7)
        theirs = pipeline(
            PROMPT, num_inference_steps=steps, guidance_scale=guidance, generator=random, output_type="latent"
        ).images
        ours = editkit.apply(
            "generate", model=model, prompt=PROMPT, sampler="euler-a", steps=steps, guidance=guidance, seed=7
        )
        assert_agree(ours.latents, theirs)


@pytest.mark.parametrize("steps", STEPS)
def test_turbo_folders_agree_with_diffusers(steps: int) -> None:
    """With unit noise: on a trailing grid diffusers scales it by the sigma of the first point, a little less than 1."""
    model, pipeline = turbo("trailing")
    random = torch.Generator().manual_seed(7)
    noise = torch.randn((1, *model.latent_shape(16, 16)), generator=random)
    theirs = pipeline(
        PROMPT,
        num_inference_steps=steps,
        guidance_scale=0.0,
        latents=noise / model.schedule.point(model.schedule.last).sigma,
        generator=random,
        output_type="latent",
    ).images
    ours = editkit.apply("generate", model=model, prompt=PROMPT, sampler="euler-a", steps=steps, guidance=1.0, seed=7)
    assert_agree(ours.latents, theirs)
    assert ours.report.network_samples == steps


def test_the_error_for_distilled_guidance_names_both_sides() -> None:
    draw = functools.partial(editkit.apply, "generate", model=consistency()[0], steps=1, seed=0)
    with pytest.raises(MissingCapability, match=r"negative_prompt= needs .* provides distilled-guidance"):
        draw(negative_prompt="a green apple")
    with pytest.raises(MissingCapability, match=r"guidance_rescale= needs .* provides distilled-guidance"):
        draw(guidance_rescale=0.5)


def test_a_pinned_source_is_reconstructed() -> None:
    edit = functools.partial(
        editkit.apply, "prompt-edit", sample_image((20, 14)), model=consistency()[0], steps=4, seed=0, guidance=8.5
    )
    for sampler in ("ddim", "lcm"):
        report = edit(source="a red apple", target="a green apple", inverter="pinned", sampler=sampler).report
        assert report.recon_psnr == report.vae_psnr
    same = edit(source="a red apple", target="a red apple", sampler="lcm").image
    assert same.tobytes() == sample_image((20, 14)).tobytes()


class TestFewStepEdit:
    """The algorithm; the laws of every operation are tested elsewhere."""

    image = sample_image((16, 16))
    edit = staticmethod(functools.partial(editkit.apply, "few-step-edit", source="a red apple", seed=7))

    @pytest.mark.parametrize("steps", STEPS)
    def test_few_step_edit_equals_the_published_algorithm(self, steps: int) -> None:
        """Xu et al. (arXiv 2312.04965, algorithm 2), written with eps predictions."""
        model = consistency()[0]
        ours = self.edit(self.image, model=model, target="a green apple", steps=steps, guidance=8.5)
        random = torch.Generator().manual_seed(7)
        path = make_path(model.schedule, steps, model.grid, to_zero=True)
        noises = [torch.randn((1, *model.latent_shape(16, 16)), generator=random) for _ in path[:-1]][::-1]
        conditions = [
            model.with_guidance_scale(model.embed([prompt]), 8.5) for prompt in ("a red apple", "a green apple")
        ]  # type: ignore
        with torch.no_grad():
            clean = model.encode(to_tensor(self.image))
            target = clean
            for point, noise in zip(path[:-1], noises, strict=True):
                noisy = [point.alpha * start + point.sigma * noise for start in (clean, target)]
                eps = [
                    editkit.eps_of(x, model.denoise(x, point, condition), point)
                    for x, condition in zip(noisy, conditions, strict=True)
                ]
                target = (noisy[1] - point.sigma * (eps[1] - eps[0] + noise)) / point.alpha
        assert largest(ours.latents - target) < 1e-4
        assert largest(target - clean) > 1e-2

    def test_the_source_is_exact_and_costs_no_inversion(self) -> None:
        model = consistency()[0]
        report = self.edit(self.image, model=model, target="a green apple").report
        assert report.recon_psnr == report.vae_psnr
        assert (report.steps, report.network_calls, report.network_samples) == (4, 4, 8)
        whole = editkit.invert(self.image, model=model, prompt="a red apple", method="virtual", steps=4, seed=7)
        assert whole.report is not None
        assert whole.report.network_calls == 0
        again = editkit.reconstruct(whole, model=model).report
        assert again.recon_psnr == again.vae_psnr

    @pytest.mark.parametrize("sampler", ["lcm", "ddim", "euler-a"])
    def test_equal_prompts_and_strength_0_return_the_source(self, sampler: str) -> None:
        for model in (consistency()[0], turbo("trailing")[0]):
            same = self.edit(self.image, model=model, target="a red apple", sampler=sampler, guidance=3.3)
            assert same.image.tobytes() == self.image.tobytes()
            kept = self.edit(self.image, model=model, target="a green apple", sampler=sampler, strength=0.0)
            assert kept.image.tobytes() == self.image.tobytes()

    def test_prompt_edit_with_the_virtual_inverter_gives_the_same_edit(self) -> None:
        """Up to the end of the path, which keeps a little noise."""
        model = consistency()[0]
        chosen: dict[str, Any] = {"target": "a green apple", "guidance": 8.5, "sampler": "lcm", "steps": 4}
        other = editkit.apply(
            "prompt-edit", self.image, model=model, source="a red apple", inverter="virtual", seed=7, **chosen
        )
        assert largest(self.edit(self.image, model=model, **chosen).latents - other.latents) < 0.05

    def test_few_step_edit_needs_text(self) -> None:
        from editkit.testing import ToyBackend

        class Wordless(ToyBackend):
            provides = frozenset()

        with pytest.raises(MissingCapability, match="few-step-edit needs text; the model 'toy' provides nothing"):
            self.edit(self.image, model=Wordless(), target="a green apple")


class TestChordEdit:
    """The algorithm of ChordEdit; the laws of every operation are tested elsewhere."""

    image = sample_image((16, 16))
    edit = staticmethod(functools.partial(editkit.apply, "chord-edit", source="a red apple", seed=7))

    @pytest.mark.parametrize("params", [{}, {"steps": 3, "averages": 2, "scale": 0.7}, {"delta": 0.0, "refine": 0.0}])
    def test_chord_edit_equals_the_loop_of_the_authors(self, params: dict[str, Any]) -> None:
        """Lu et al. (arXiv 2602.19083), in noise predictions at whole timesteps, with their default settings."""
        model, settings = turbo("trailing")[0], {"level": 0.9, "delta": 0.15, "scale": 1.0, "refine": 0.3, **params}
        steps, averages = params.get("steps", 1), params.get("averages", 1)
        random = torch.Generator().manual_seed(7)
        noises = [torch.randn((1, *model.latent_shape(16, 16)), generator=random) for _ in range(averages)]
        source, target = model.embed(["a red apple"]), model.embed(["a green apple"])
        last = model.schedule.train_steps - 1

        def estimate(clean: Tensor, share: float, noise: Tensor, condition: editkit.Condition) -> Tensor:
            point = model.schedule.point(round(last * share))
            noisy = point.alpha * clean + point.sigma * noise
            eps = editkit.from_x0("epsilon", model.denoise(noisy, point, condition), noisy, point)
            return (noisy - point.sigma * eps) / point.alpha

        def difference(clean: Tensor, share: float) -> Tensor:
            pairs = [estimate(clean, share, one, target) - estimate(clean, share, one, source) for one in noises]
            return sum(pairs) / averages  # type: ignore[return-value]

        with torch.no_grad():
            clean = edited = model.encode(to_tensor(self.image))
            for share in np.linspace(settings["level"], settings["refine"], steps) if steps > 1 else [0.9]:
                chord = settings["delta"] * difference(edited, share)
                chord = chord + share * difference(edited, share - settings["delta"])
                edited = edited + settings["scale"] * chord / (share + settings["delta"])
            if settings["refine"]:
                edited = estimate(edited, settings["refine"], noises[0], target)
        ours = self.edit(self.image, model=model, target="a green apple", **params)
        assert largest(ours.latents - edited) < 1e-4
        assert largest(edited - clean) > 1e-2
        samples = 2 * averages * (steps * (1 + (settings["delta"] > 0)) + (settings["refine"] > 0))
        assert ours.report.network_samples == samples

    def test_equal_prompts_return_the_source(self) -> None:
        for params in ({}, {"refine": 0.0}, {"averages": 2}):
            same = self.edit(self.image, model=turbo("trailing")[0], target="a red apple", **params)
            assert same.image.tobytes() == self.image.tobytes()

    def test_a_mask_scales_the_edit_and_protects_the_rest(self) -> None:
        mask = Image.linear_gradient("L").resize((16, 16))
        model, half = turbo("trailing")[0], Image.new("L", (16, 16), 128)
        for refine in (0.0, 0.3):
            whole, part, soft = (
                self.edit(self.image, model=model, target="a green apple", refine=refine, mask=one)
                for one in (None, mask, half)
            )
            assert part.report.untouched_max_diff == 0
            clean = self.edit(self.image, model=model, target="a red apple", refine=refine).latents
            if not refine:
                assert largest(soft.latents - (clean + 128 / 255 * (whole.latents - clean))) < 1e-5

    def test_a_sampler_has_no_effect_and_a_warning(self) -> None:
        edited = self.edit(self.image, model=turbo("trailing")[0], target="a green apple", sampler="euler")
        assert "sampler='euler' has no effect: chord-edit samples no path" in edited.report.warnings[0]
