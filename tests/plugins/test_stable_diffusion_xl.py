"""SDXL: agreement with diffusers' pipelines to 1e-4 in float32 latents, and the laws of its conditioning."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
)
from torch import Tensor

import editkit
from editkit import Backend, InvalidParameter, MissingCapability, WeightsUnavailable
from editkit.canvas import to_tensor
from editkit.testing import BackendTests, stable_diffusion_folder
from editkit.testing.suite import sample_image
from editkit.testing.tiny import controlnet_xl_folder, stable_diffusion_xl_folder

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SCHEDULERS = {"ddim": DDIMScheduler, "dpmpp-2m": DPMSolverMultistepScheduler, "euler": EulerDiscreteScheduler}
PREDICTIONS = ("epsilon", "v_prediction")
KINDS = ("text", "inpainting", "instructions", "refiner")
PROMPT = "a red apple on white"
PICTURE = sample_image((16, 16))
SEED = 7

each_sampler = pytest.mark.parametrize("sampler", SCHEDULERS)
each_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)
each_guidance = pytest.mark.parametrize("guidance", [1.0, 5.0])


@functools.cache
def both(kind: Any = "text", prediction: Any = "epsilon") -> tuple[Any, Any]:
    """One tiny folder, loaded by editkit and by diffusers."""
    with tempfile.TemporaryDirectory() as made:
        folder = stable_diffusion_xl_folder(Path(made), kind, prediction_type=prediction)
        return editkit.load_model(folder, device="cpu"), DiffusionPipeline.from_pretrained(folder)


def theirs(pipeline: Any, sampler: str = "ddim", prompt: str = PROMPT, **arguments: Any) -> Tensor:
    """The latents of a diffusers pipeline; its noise is of the seed that editkit's is of."""
    pipeline.scheduler = SCHEDULERS[sampler].from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    random = torch.Generator().manual_seed(SEED)
    latents: Tensor = pipeline(prompt, generator=random, output_type="latent", **arguments).images
    return latents


def ours(operation: str, *picture: Any, kind: str = "text", prediction: str = "epsilon", **params: Any) -> Tensor:
    given = {"prompt": PROMPT, "seed": SEED, **params}
    latents: Tensor = editkit.apply(operation, *picture, model=both(kind, prediction)[0], **given).latents
    return latents


def assert_agree(ours: Tensor, theirs: Tensor) -> None:
    missed = float((ours - theirs).abs().max())
    assert missed < 1e-4, f"off by {missed:.1e}"
    assert float(ours.std()) > 0.1, "nothing to compare"


@torch.no_grad()
def clean(kind: str = "text") -> Tensor:
    """The picture's latents: given latents for a picture, diffusers does not draw a sample of them."""
    latents: Tensor = both(kind)[0].encode(to_tensor(PICTURE))
    return latents


# Agreement


@each_prediction
@each_sampler
@each_guidance
def test_generate(prediction: str, sampler: str, guidance: float) -> None:
    pipeline = StableDiffusionXLPipeline.from_pipe(both("text", prediction)[1])
    wanted = theirs(pipeline, sampler, num_inference_steps=8, guidance_scale=guidance)
    given = {"sampler": sampler, "steps": 8, "guidance": guidance}
    assert_agree(ours("generate", prediction=prediction, **given), wanted)


@each_prediction
@each_sampler
@each_guidance
def test_img2img(prediction: str, sampler: str, guidance: float) -> None:
    pipeline = StableDiffusionXLImg2ImgPipeline.from_pipe(both("text", prediction)[1])
    given = {"strength": 0.6}
    wanted = theirs(pipeline, sampler, image=clean(), num_inference_steps=10, guidance_scale=guidance, **given)
    given |= {"sampler": sampler, "steps": 10, "guidance": guidance}
    assert_agree(ours("img2img", PICTURE, prediction=prediction, **given), wanted)
