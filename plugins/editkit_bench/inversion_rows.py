"""Rows in which both sides invert an image."""

from __future__ import annotations

import functools
import itertools
import tempfile
from typing import Any

import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler
from torch import Tensor

from editkit import SamplingPath, ddpm_noise_std, make_path

from .comparison import FEW_STEPS, Results
from .fixture import PROMPT, TARGET, ComparisonFixture
from .isolated_cache import use_cache_folder
from .tuned_diffusers import fused_without_decoding

_GUIDANCE = 3.5
_STEPS = 20
LEDITS = "LEditsPPPipelineStableDiffusion"
"""Pipeline of LEDITS++, which with a DDIM scheduler uses edit-friendly inversion."""
_FOUR_TARGETS = tuple(f"a {colour} apple on white" for colour in ("green", "blue", "yellow", "red"))


def _inversion_steps(fixture: ComparisonFixture) -> int:
    """Return 20, which is more than for sampling, unless the model is measured with few steps."""
    return _STEPS if fixture.steps > FEW_STEPS else fixture.steps


def editkit_inversion(fixture: ComparisonFixture) -> Any:
    """Invert with the prompt as negative prompt, since diffusers 0.42 confuses the two embeddings."""
    return fixture.edit(
        "invert",
        fixture.image,
        prompt="",
        negative_prompt=PROMPT,
        method="edit-friendly:skip=0",
        steps=_inversion_steps(fixture),
        guidance=_GUIDANCE,
    )


def _ledits_pipeline(fixture: ComparisonFixture) -> Any:
    """Return the pipeline with a DDIM scheduler that accepts its fractional timesteps (diffusers 0.42)."""
    pipeline, original = fixture.pipeline(LEDITS), DDIMScheduler.add_noise

    def add_noise(scheduler: Any, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return original(scheduler, clean, noise, timesteps.long())  # type: ignore[no-any-return]

    vars(pipeline.scheduler)["add_noise"] = functools.partial(add_noise, pipeline.scheduler)
    return pipeline


def diffusers_inversion(fixture: ComparisonFixture, steps: int | None = None) -> Any:
    pipeline = _ledits_pipeline(fixture)
    attention = pipeline.unet.attn_processors
    pipeline.invert(
        fixture.image,
        source_prompt=PROMPT,
        source_guidance_scale=_GUIDANCE,
        num_inversion_steps=steps or _inversion_steps(fixture),
        skip=0.0,
        generator=fixture.generator(),
    )
    pipeline.unet.set_attn_processor(attention)
    return pipeline


def tuned_inversion(fixture: ComparisonFixture, steps: int | None = None) -> Any:
    with fused_without_decoding(fixture.pipeline(LEDITS)), torch.inference_mode():
        return diffusers_inversion(fixture, steps)


def editkit_added_noise(fixture: ComparisonFixture) -> Tensor:
    """Return the noise (N, C, h, w) that each step of a replay adds to the latents."""
    record = editkit_inversion(fixture).record
    return _scaled_noise(record.path, record.extras["noise"][0])


def diffusers_added_noise(fixture: ComparisonFixture) -> Tensor:
    path = make_path(fixture.model.schedule, _inversion_steps(fixture), fixture.model.grid)
    return _scaled_noise(path, diffusers_inversion(fixture).zs[:, 0])


def _scaled_noise(path: SamplingPath, noise: Tensor) -> Tensor:
    """Multiply the noise (N, C, h, w) of the steps of a path by its standard deviation in each step."""
    std = torch.tensor([ddpm_noise_std(p, q) for p, q in itertools.pairwise(path)]).to(noise)
    return std.view(-1, 1, 1, 1) * noise


def editkit_four_edits(fixture: ComparisonFixture) -> Any:
    """Edit one image four times; the last three edits use the cached inversion of the first."""
    with tempfile.TemporaryDirectory() as folder, use_cache_folder(folder):
        return [
            fixture.edit(
                "prompt-edit",
                fixture.image,
                source=PROMPT,
                target=target,
                inverter="edit-friendly:skip=0",
                steps=min(FEW_STEPS, fixture.steps),
                guidance=_GUIDANCE,
                negative_prompt="",
                cache=True,
            )
            for target in _FOUR_TARGETS
        ]


def _diffusers_edit(fixture: ComparisonFixture, target: str) -> Any:
    """Sample from the inversion towards a prompt."""
    pipeline = _ledits_pipeline(fixture)
    attention = pipeline.unet.attn_processors
    result = pipeline(
        editing_prompt=[target], edit_guidance_scale=_GUIDANCE, use_intersect_mask=False, generator=fixture.generator()
    )
    pipeline.unet.set_attn_processor(attention)
    return result


def diffusers_four_edits(fixture: ComparisonFixture) -> Any:
    """Invert for each edit, as a script for a single edit does."""
    for target in _FOUR_TARGETS:
        diffusers_inversion(fixture, min(FEW_STEPS, fixture.steps))
        _diffusers_edit(fixture, target)


def tuned_four_edits(fixture: ComparisonFixture) -> Any:
    """Invert once for all edits."""
    tuned_inversion(fixture, min(FEW_STEPS, fixture.steps))
    with torch.inference_mode():
        for target in _FOUR_TARGETS:
            _diffusers_edit(fixture, target)


def editkit_ddim(fixture: ComparisonFixture) -> Any:
    return fixture.edit("invert", fixture.image, prompt=PROMPT, method="ddim", steps=fixture.steps)


def diffusers_ddim(fixture: ComparisonFixture, guidance: float = 7.5, **prompt: Any) -> Any:
    """Invert with guidance 7.5 by default, as the pipeline does."""
    pipeline = fixture.pipeline("StableDiffusionDiffEditPipeline", inverse_scheduler=None)
    pipeline.inverse_scheduler = DDIMInverseScheduler.from_config(fixture.base.scheduler.config)
    return pipeline.invert(
        **(prompt or {"prompt": PROMPT}),
        image=fixture.image,
        num_inference_steps=fixture.steps,
        inpaint_strength=1.0,
        guidance_scale=guidance,
        generator=fixture.generator(),
    )


def tuned_ddim(fixture: ComparisonFixture) -> Any:
    with torch.inference_mode():
        return diffusers_ddim(fixture, 1.0, **fixture.embedded_prompt)


UNGUIDED_NOISES: Results = (
    lambda fixture: editkit_ddim(fixture).noise,
    lambda fixture: diffusers_ddim(fixture, 1.0).latents[:, -1],
)
"""Noise of both sides without guidance; with guidance they differ."""


def editkit_instruct_by_inversion(fixture: ComparisonFixture) -> Any:
    return fixture.edit(
        "instruct",
        fixture.image,
        instruction="make it green",
        method="inversion",
        source=PROMPT,
        target=TARGET,
        auto_mask="difference",
        guidance=7.5,
        steps=min(FEW_STEPS, fixture.steps),
    )


def diffusers_instruct_by_inversion(fixture: ComparisonFixture) -> Any:
    """Run DiffEdit: a mask from the difference of two prompts, an inversion, and the edit."""
    pipeline = fixture.pipeline("StableDiffusionDiffEditPipeline", inverse_scheduler=None)
    pipeline.inverse_scheduler = DDIMInverseScheduler.from_config(fixture.base.scheduler.config)
    shared = {"num_inference_steps": min(FEW_STEPS, fixture.steps), "generator": fixture.generator()}
    mask = pipeline.generate_mask(image=fixture.image, source_prompt=PROMPT, target_prompt=TARGET, **shared)
    inverted = pipeline.invert(prompt=PROMPT, image=fixture.image, inpaint_strength=1.0, **shared).latents
    return pipeline(
        prompt=TARGET, mask_image=mask, image_latents=inverted, negative_prompt=PROMPT, inpaint_strength=1.0, **shared
    )
