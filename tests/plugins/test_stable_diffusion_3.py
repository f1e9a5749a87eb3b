"""Stable Diffusion 3: agreement with diffusers' pipelines, the steps of flow matching, and edits."""

from __future__ import annotations

import functools
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusion3Img2ImgPipeline,
    StableDiffusion3InpaintPipeline,
    StableDiffusion3Pipeline,
)
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import calculate_shift
from editkit_diffusers.scheduler_config import flow_of, grid_of
from PIL import Image
from torch import Tensor

import editkit
from editkit import Backend, InvalidParameter, MissingCapability, WeightsUnavailable, make_path
from editkit.images.blending.pull_push_fill import erase
from editkit.images.masks.tensors import mask_tensor
from editkit.images.tensors import to_tensor
from editkit.testing import BackendTests
from editkit.testing.suite import assert_agree, largest, sample_image
from editkit.testing.tiny import stable_diffusion_3_folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

FLOWS: dict[str, dict[str, Any]] = {
    "static": {"shift": 3.0},
    "dynamic": {"shift": 3.0, "use_dynamic_shifting": True},
    "linear": {"use_dynamic_shifting": True, "time_shift_type": "linear", "base_shift": 0.7},
    "stretched": {"use_dynamic_shifting": True, "shift_terminal": 0.1, "max_image_seq_len": 8192},
}
"""Schedulers' configurations."""
PROMPT = "a red apple on white"
STEPS = 6
IMAGE = sample_image((16, 16))
ODD = ((9, 5), (1, 1), (23, 16))
"""Sizes that are no multiples of a patch."""


class TestWithoutT5(BackendTests):
    name = "stable-diffusion-3"

    @classmethod
    def folder(cls, path: Path) -> Path:
        return stable_diffusion_3_folder(path, t5=False)


@functools.cache
def load_both(flow: str = "static", t5: bool = True) -> tuple[Backend, Any]:
    """One tiny folder, loaded by editkit and by diffusers."""
    with tempfile.TemporaryDirectory() as directory:
        folder = stable_diffusion_3_folder(Path(directory), scheduler=FLOWS[flow], t5=t5)
        missing: dict[str, Any] = {} if t5 else {"text_encoder_3": None, "tokenizer_3": None}
        return editkit.load_model(folder, device="cpu"), StableDiffusion3Pipeline.from_pretrained(folder, **missing)


def run_diffusers(pipeline: Any, **arguments: Any) -> Tensor:
    """Latents of a diffusers pipeline; its noise has the seed of editkit's."""
    pipeline.set_progress_bar_config(disable=True)
    arguments = {"num_inference_steps": STEPS, "output_type": "latent", **arguments}
    latents: Tensor = pipeline(PROMPT, generator=torch.Generator().manual_seed(7), **arguments).images
    return latents


def run_editkit(operation: str, *images: Image.Image, model: Backend, **params: Any) -> Any:
    return editkit.apply(operation, *images, model=model, **{"prompt": PROMPT, "steps": STEPS, "seed": 7, **params})


def box(*corners: int) -> Image.Image:
    """Mask of IMAGE's size, white in a box."""
    mask = Image.new("L", IMAGE.size)
    mask.paste(255, corners)
    return mask


# Agreement


@pytest.mark.parametrize(("flow", "t5"), [*((flow, True) for flow in FLOWS), ("static", False)])
@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_generate_agrees_with_diffusers(flow: str, t5: bool, guidance: float) -> None:
    model, pipeline = load_both(flow, t5)
    expected = run_diffusers(pipeline, width=24, height=16, guidance_scale=guidance)
    for sampler in ("euler", "ddim"):
        result = run_editkit("generate", model=model, width=24, height=16, guidance=guidance, sampler=sampler)
        assert_agree(result.latents, expected)


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("guidance", [1.0, 5.0])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_img2img_agrees_with_diffusers(flow: str, guidance: float, strength: float) -> None:
    """Both start from the same clean latents: for latents as image, diffusers skips sampling the autoencoder."""
    model, pipeline = load_both(flow)
    expected = run_diffusers(
        StableDiffusion3Img2ImgPipeline.from_pipe(pipeline),
        image=model.encode(to_tensor(IMAGE)),
        width=16,
        height=16,
        strength=strength,
        guidance_scale=guidance,
    )
    result = run_editkit("img2img", IMAGE, model=model, strength=strength, guidance=guidance)
    assert_agree(result.latents, expected)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_masked_img2img_agrees_with_diffusers(strength: float) -> None:
    """At strength 1 both encode the source without the pixels under the mask.

    Only latents are compared: diffusers decodes without the autoencoder's shift in this pipeline.
    """
    (model, pipeline), mask = load_both(), box(4, 4, 12, 10)
    pixels = to_tensor(IMAGE)
    clean = model.encode(erase(pixels, mask_tensor(mask, 0)) if strength == 1 else pixels)
    expected = run_diffusers(
        StableDiffusion3InpaintPipeline.from_pipe(pipeline),
        image=clean,
        mask_image=mask,
        masked_image_latents=clean,
        width=16,
        height=16,
        strength=strength,
        guidance_scale=5.0,
    )
    result = run_editkit("img2img", IMAGE, model=model, mask=mask, strength=strength, guidance=5.0)
    assert_agree(result.latents, expected)


@torch.no_grad()
def test_decoded_pixels_agree_with_diffusers() -> None:
    model, pipeline = load_both()
    result = run_editkit("generate", model=model, width=16, height=16)
    pixels = run_diffusers(pipeline, width=16, height=16, guidance_scale=4.5, output_type="pt")
    assert largest(model.decode(result.latents) - pixels) < 1e-4
    mean = pipeline.vae.encode(to_tensor(IMAGE) * 2 - 1).latent_dist.mode()
    scaled = (mean - pipeline.vae.config.shift_factor) * pipeline.vae.config.scaling_factor
    assert_agree(model.encode(to_tensor(IMAGE)), scaled)


# The steps of flow matching


@pytest.mark.parametrize("flow", FLOWS)
def test_sigmas_agree_with_diffusers(flow: str) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(**FLOWS[flow])
    settings = json.loads(scheduler.to_json_string())
    schedule, grid = flow_of(settings, patch=2), grid_of(settings)
    for (height, width), steps in itertools.product(((8, 8), (64, 48), (128, 128), (256, 192)), (2, 7, 28)):
        config = scheduler.config
        mu = calculate_shift(
            height // 2 * (width // 2),
            config.base_image_seq_len,
            config.max_image_seq_len,
            config.base_shift,
            config.max_shift,
        )
        evenly = np.linspace(1, 1 / steps, steps)
        for spacing, sigmas in (("linspace", None), ("trailing", evenly)):
            scheduler.set_timesteps(steps, sigmas=sigmas, mu=mu)
            resized = schedule.for_shape((16, height, width))
            path = make_path(resized, steps, editkit.TimestepGrid(spacing, ends_clean=grid.ends_clean))  # type: ignore[arg-type]
            assert np.allclose([point.sigma for point in path], scheduler.sigmas, rtol=0, atol=1e-6), (steps, spacing)


def test_larger_images_have_larger_sigmas() -> None:
    def sigmas(flow: str, width: int) -> list[float]:
        inversion = editkit.invert(sample_image((16, 16)), model=load_both(flow)[0], steps=4, resolution=width)
        return [point.sigma for point in inversion.path]

    inner = zip(sigmas("dynamic", 8)[1:-1], sigmas("dynamic", 32)[1:-1], strict=True)
    assert all(larger > smaller for smaller, larger in inner)
    assert sigmas("static", 8) == sigmas("static", 32)


def test_a_path_may_have_one_step() -> None:
    for flow in FLOWS:
        assert run_editkit("generate", model=load_both(flow)[0], steps=1).report.network_calls == 1


# Edits


@pytest.mark.parametrize("size", ODD)
def test_images_of_any_size_are_edited(size: tuple[int, int]) -> None:
    model, image = load_both("dynamic")[0], sample_image(size)
    assert run_editkit("generate", model=model, width=size[0], height=size[1], steps=2).image.size == size
    redrawn = run_editkit("img2img", image, model=model, steps=2).image
    assert redrawn.size == size
    assert redrawn.tobytes() != image.tobytes()
    assert run_editkit("img2img", image, model=model, steps=2, strength=0.0).image.tobytes() == image.tobytes()


@pytest.mark.parametrize("size", ODD)
def test_an_edit_by_inversion_reconstructs_its_source_exactly(size: tuple[int, int]) -> None:
    arguments = {"model": load_both("dynamic")[0], "source": "a red apple", "inverter": "pinned", "steps": 3, "seed": 0}
    edited = editkit.apply("prompt-edit", sample_image(size), target="a green pear", guidance=4.0, **arguments)
    assert edited.image.size == size
    assert edited.report.recon_psnr == edited.report.vae_psnr
    same = editkit.apply("prompt-edit", sample_image(size), target="a red apple", guidance=4.0, **arguments)
    assert same.image.tobytes() == sample_image(size).tobytes()


@pytest.mark.parametrize("operation", ["inpaint", "img2img"])
def test_outside_a_mask_nothing_changes(operation: str) -> None:
    image, mask = sample_image((23, 17)), Image.new("L", (23, 17))
    mask.paste(255, (3, 5, 14, 13))
    edited = run_editkit(operation, image, model=load_both()[0], mask=mask)
    assert edited.report.untouched_max_diff == 0
    changed = np.any(np.asarray(edited.image) != np.asarray(image), axis=-1)
    assert changed.any()
    assert not changed[np.asarray(mask) == 0].any()


# Refused input


def refusal_of(folder: Path) -> pytest.ExceptionInfo[WeightsUnavailable]:
    with pytest.raises(WeightsUnavailable) as caught:
        editkit.load_model(folder, device="cpu")
    return caught


def test_unsupported_schedulers_are_refused(tmp_path: Path) -> None:
    folder = stable_diffusion_3_folder(tmp_path, scheduler={"invert_sigmas": True})
    assert refusal_of(folder).match(".*invert_sigmas")
    DDIMScheduler().save_pretrained(folder / "scheduler")
    assert refusal_of(folder).match("a DDIMScheduler; this model needs a FlowMatchEulerDiscreteScheduler")


def test_networks_with_extra_input_channels_are_refused(tmp_path: Path) -> None:
    from diffusers import SD3Transformer2DModel

    folder = stable_diffusion_3_folder(tmp_path)
    config = {**SD3Transformer2DModel.load_config(folder / "transformer"), "in_channels": 33}
    SD3Transformer2DModel.from_config(config).save_pretrained(folder / "transformer")
    assert refusal_of(folder).match("has 33 input channels and the autoencoder 16 latent channels")


def test_an_image_beyond_the_model_s_positions_is_refused() -> None:
    with pytest.raises(InvalidParameter, match=r"a side of 96 pixels .* up to 64"):
        run_editkit("generate", model=load_both()[0], width=96, height=16)


def test_unsupported_operations_are_refused_by_name() -> None:
    with pytest.raises(MissingCapability, match=r"needs instructions .*; .* provides .*text"):
        editkit.apply("instruct", IMAGE, model=load_both()[0], steps=2, instruction="a pear", method="ip2p")
