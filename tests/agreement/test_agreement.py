"""Agreement with diffusers: the same weights and the same noise give the same latents to 1e-4 in float32."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
)
from torch import Tensor

import editkit
from editkit import Backend
from editkit.images.tensors import to_tensor
from editkit.testing import stable_diffusion_folder
from editkit.testing.suite import assert_agree, sample_image

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SCHEDULERS = {"ddim": DDIMScheduler, "dpmpp-2m": DPMSolverMultistepScheduler, "euler": EulerDiscreteScheduler}
PREDICTIONS = ("epsilon", "v_prediction")
PROMPT = "a red apple on white"


@functools.cache
def models(prediction: Any) -> tuple[Backend, Any]:
    """One tiny folder, loaded by both."""
    with tempfile.TemporaryDirectory() as created:
        folder = stable_diffusion_folder(Path(created), prediction_type=prediction)
        return editkit.load_model(folder, device="cpu"), StableDiffusionPipeline.from_pretrained(folder)


def theirs(prediction: str, sampler: str, kind: Any, **arguments: Any) -> Tensor:
    """The latents of a diffusers pipeline of class ``kind``."""
    pipeline = kind.from_pipe(models(prediction)[1])
    pipeline.scheduler = SCHEDULERS[sampler].from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    random = torch.Generator().manual_seed(7)
    latents: Tensor = pipeline(PROMPT, generator=random, output_type="latent", **arguments).images
    return latents


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("sampler", SCHEDULERS)
@pytest.mark.parametrize("guidance", [7.5, 1.0])
def test_generate(prediction: str, sampler: str, guidance: float) -> None:
    for steps in (3, 8):
        expected = theirs(
            prediction, sampler, StableDiffusionPipeline, num_inference_steps=steps, guidance_scale=guidance
        )
        ours = editkit.apply(
            "generate",
            model=models(prediction)[0],
            prompt=PROMPT,
            sampler=sampler,
            steps=steps,
            guidance=guidance,
            seed=7,
        )
        assert_agree(ours.latents, expected)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("share", [0.7, 1.0])
def test_rescaled_guidance(prediction: str, share: float) -> None:
    """The deviation is that of the network's output (Lin et al., arXiv 2305.08891), whatever it predicts."""
    expected = theirs(
        prediction, "ddim", StableDiffusionPipeline, num_inference_steps=4, guidance_scale=7.5, guidance_rescale=share
    )
    given: dict[str, Any] = {"prompt": PROMPT, "steps": 4, "guidance": 7.5, "guidance_rescale": share, "seed": 7}
    assert_agree(editkit.apply("generate", model=models(prediction)[0], **given).latents, expected)


def test_in_float64_the_difference_is_that_of_float64(tmp_path: Path) -> None:
    """Of float32, 1e-4 are rounding and no other mathematics: diffusers' table of alphas, and the order of sums."""
    folder = stable_diffusion_folder(tmp_path)
    model: Any = editkit.load_model(folder, device="cpu", dtype="float64")
    pipeline = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float64)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    table = torch.tensor(model.schedule.alphas_cumprod, dtype=torch.float64)
    assert_agree(pipeline.scheduler.alphas_cumprod.double(), table, 1e-6)
    pipeline.scheduler.alphas_cumprod, pipeline.scheduler.final_alpha_cumprod = table, table[0]
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn(1, *model.latent_shape(16, 16), generator=torch.Generator().manual_seed(7)).double()
    settings: dict[str, Any] = {"guidance_scale": 7.5, "num_inference_steps": 10, "height": 16, "width": 16}
    expected = pipeline(PROMPT, latents=noise, output_type="latent", **settings).images
    ours = editkit.apply("generate", model=model, prompt=PROMPT, steps=10, guidance=7.5, seed=7, height=16, width=16)
    assert ours.latents.dtype == torch.float64
    assert_agree(ours.latents, expected, 1e-11)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("sampler", SCHEDULERS)
@pytest.mark.parametrize("strength", [0.6, 1.0])
def test_img2img(prediction: str, sampler: str, strength: float) -> None:
    """Both start from the same clean latents: given latents for an image, diffusers does not draw a sample of them."""
    model, image = models(prediction)[0], sample_image((16, 16))
    with torch.no_grad():
        clean = model.encode(to_tensor(image))
    for guidance in (7.5, 1.0):
        expected = theirs(
            prediction,
            sampler,
            StableDiffusionImg2ImgPipeline,
            image=clean,
            strength=strength,
            num_inference_steps=10,
            guidance_scale=guidance,
        )
        ours = editkit.apply(
            "img2img",
            image,
            model=model,
            prompt=PROMPT,
            sampler=sampler,
            strength=strength,
            steps=10,
            guidance=guidance,
            seed=7,
        )
        assert_agree(ours.latents, expected)


@pytest.mark.parametrize("spacing", ["trailing", "linspace"])
@pytest.mark.parametrize("sampler", SCHEDULERS)
def test_other_spacings_agree_with_diffusers(sampler: str, spacing: str) -> None:
    pipeline = models("epsilon")[1]
    config = pipeline.scheduler.config
    scheduler = SCHEDULERS[sampler].from_config({**config, "timestep_spacing": spacing, "steps_offset": 0})
    scheduler.set_timesteps(10)
    model = models("epsilon")[0]
    spec = editkit.samplers()[sampler]
    grid = editkit.TimestepGrid(spacing, 0)
    path = editkit.make_path(model.schedule, 10, grid, extra_node=spec.extra_node, to_zero=spec.ends_at_zero)
    for timestep, point in zip(scheduler.timesteps.tolist(), path, strict=False):
        assert model.schedule.timestep(point) == pytest.approx(timestep, abs=1e-6)
