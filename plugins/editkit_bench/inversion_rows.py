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

from .comparison import FEW, Results
from .fixture import PROMPT, TARGET, ComparisonFixture
from .isolated_cache import kept_in
from .tuned_diffusers import fused_and_not_decoded

_GUIDANCE = 3.5
_STEPS = 20
LEDITS = "LEditsPPPipelineStableDiffusion"
"""Pipeline of LEDITS++: with a DDIM scheduler it takes edit-friendly inversion."""
_FOUR_TARGETS = tuple(f"a {colour} apple on white" for colour in ("green", "blue", "yellow", "red"))


def _inversion_steps(fixture: ComparisonFixture) -> int:
    """More than of a drawing, as the pipeline takes too, but where the shape is measured with few."""
    return _STEPS if fixture.steps > FEW else fixture.steps


def editkit_inversion(fixture: ComparisonFixture) -> Any:
    """Led away from the prompt: the pipeline confuses its two embeddings (0.42), and so is compared with this."""
    return fixture.edit(
        "invert",
        fixture.picture,
        prompt="",
        negative_prompt=PROMPT,
        method="edit-friendly:skip=0",
        steps=_inversion_steps(fixture),
        guidance=_GUIDANCE,
    )


def _ledits_pipeline(fixture: ComparisonFixture) -> Any:
    """The pipeline, with a DDIM that works in it: it asks for noise at a timestep that is no integer (0.42)."""
    made, diffused = fixture.pipeline(LEDITS), DDIMScheduler.add_noise

    def add_noise(scheduler: Any, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return diffused(scheduler, clean, noise, timesteps.long())  # type: ignore[no-any-return]

    vars(made.scheduler)["add_noise"] = functools.partial(add_noise, made.scheduler)
    return made


def diffusers_inversion(fixture: ComparisonFixture, steps: int | None = None) -> Any:
    made = _ledits_pipeline(fixture)
    attention = made.unet.attn_processors
    made.invert(
        fixture.picture,
        source_prompt=PROMPT,
        source_guidance_scale=_GUIDANCE,
        num_inversion_steps=steps or _inversion_steps(fixture),
        skip=0.0,
        generator=fixture.generator(),
    )
    made.unet.set_attn_processor(attention)
    return made


def tuned_inversion(fixture: ComparisonFixture, steps: int | None = None) -> Any:
    with fused_and_not_decoded(fixture.pipeline(LEDITS)), torch.inference_mode():
        return diffusers_inversion(fixture, steps)


def editkit_added_noise(fixture: ComparisonFixture) -> Tensor:
    """What the noise of every step adds to the latents (N, C, h, w) when it is replayed."""
    climb = editkit_inversion(fixture).record
    return _scaled_noise(climb.path, climb.extras["noise"][0])


def diffusers_added_noise(fixture: ComparisonFixture) -> Tensor:
    path = make_path(fixture.model.schedule, _inversion_steps(fixture), fixture.model.grid)
    return _scaled_noise(path, diffusers_inversion(fixture).zs[:, 0])


def _scaled_noise(path: SamplingPath, noise: Tensor) -> Tensor:
    """The noise (N, C, h, w) of the steps of a path, as strong as it is added."""
    strength = torch.tensor([ddpm_noise_std(p, q) for p, q in itertools.pairwise(path)]).to(noise)
    return strength.view(-1, 1, 1, 1) * noise


def editkit_four_edits(fixture: ComparisonFixture) -> Any:
    """Four edits of one picture, of which the last three find the inversion of the first."""
    with tempfile.TemporaryDirectory() as place, kept_in(place):
        return [
            fixture.edit(
                "prompt-edit",
                fixture.picture,
                source=PROMPT,
                target=target,
                inverter="edit-friendly:skip=0",
                steps=min(FEW, fixture.steps),
                guidance=_GUIDANCE,
                negative_prompt="",
                cache=True,
            )
            for target in _FOUR_TARGETS
        ]


def _diffusers_edit(fixture: ComparisonFixture, target: str) -> Any:
    """What is inverted, drawn towards a prompt."""
    made = _ledits_pipeline(fixture)
    attention = made.unet.attn_processors
    drawn = made(
        editing_prompt=[target], edit_guidance_scale=_GUIDANCE, use_intersect_mask=False, generator=fixture.generator()
    )
    made.unet.set_attn_processor(attention)
    return drawn


def diffusers_four_edits(fixture: ComparisonFixture) -> Any:
    """An inversion for each edit, as a script that edits once does."""
    for target in _FOUR_TARGETS:
        diffusers_inversion(fixture, min(FEW, fixture.steps))
        _diffusers_edit(fixture, target)


def tuned_four_edits(fixture: ComparisonFixture) -> Any:
    """One inversion for all."""
    tuned_inversion(fixture, min(FEW, fixture.steps))
    with torch.inference_mode():
        for target in _FOUR_TARGETS:
            _diffusers_edit(fixture, target)


def editkit_ddim(fixture: ComparisonFixture) -> Any:
    return fixture.edit("invert", fixture.picture, prompt=PROMPT, method="ddim", steps=fixture.steps)


def diffusers_ddim(fixture: ComparisonFixture, guidance: float = 7.5, **prompt: Any) -> Any:
    """Guided unless told otherwise, as the pipeline is by default."""
    made = fixture.pipeline("StableDiffusionDiffEditPipeline", inverse_scheduler=None)
    made.inverse_scheduler = DDIMInverseScheduler.from_config(fixture.base.scheduler.config)
    return made.invert(
        **(prompt or {"prompt": PROMPT}),
        image=fixture.picture,
        num_inference_steps=fixture.steps,
        inpaint_strength=1.0,
        guidance_scale=guidance,
        generator=fixture.generator(),
    )


def tuned_ddim(fixture: ComparisonFixture) -> Any:
    with torch.inference_mode():
        return diffusers_ddim(fixture, 1.0, **fixture.embedded)


UNGUIDED_NOISES: Results = (
    lambda fixture: editkit_ddim(fixture).noise,
    lambda fixture: diffusers_ddim(fixture, 1.0).latents[:, -1],
)
"""The noise that both find: with guidance they find another."""


def editkit_instruct_by_inversion(fixture: ComparisonFixture) -> Any:
    return fixture.edit(
        "instruct",
        fixture.picture,
        instruction="make it green",
        method="inversion",
        source=PROMPT,
        target=TARGET,
        auto_mask=True,
        guidance=7.5,
        steps=min(FEW, fixture.steps),
    )


def diffusers_instruct_by_inversion(fixture: ComparisonFixture) -> Any:
    """DiffEdit: the mask from where two prompts disagree, the inversion, the edit."""
    made = fixture.pipeline("StableDiffusionDiffEditPipeline", inverse_scheduler=None)
    made.inverse_scheduler = DDIMInverseScheduler.from_config(fixture.base.scheduler.config)
    given = {"num_inference_steps": min(FEW, fixture.steps), "generator": fixture.generator()}
    mask = made.generate_mask(image=fixture.picture, source_prompt=PROMPT, target_prompt=TARGET, **given)
    inverted = made.invert(prompt=PROMPT, image=fixture.picture, inpaint_strength=1.0, **given).latents
    return made(
        prompt=TARGET, mask_image=mask, image_latents=inverted, negative_prompt=PROMPT, inpaint_strength=1.0, **given
    )
