"""FLUX: agreement with diffusers' pipelines, distilled guidance, and edits."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import (
    DiffusionPipeline,
    FluxImg2ImgPipeline,
    FluxInpaintPipeline,
    FluxPipeline,
)
from editkit_diffusers.flux_tokens import pack, unpack
from PIL import Image
from torch import Tensor

import editkit
from editkit import (
    Backend,
    Conditioned,
    MissingCapability,
    WeightsUnavailable,
    add_noise,
    make_path,
    start_at,
    walk,
)
from editkit.images.blending.pull_push_fill import erase
from editkit.images.tensors import to_tensor
from editkit.registry.registry import installed
from editkit.sampling.change_map import NoisedSourceChangeMap
from editkit.testing import BackendTests
from editkit.testing.suite import assert_agree, largest, random_latents, sample_image
from editkit.testing.tiny import flux_fill_folder, flux_folder, flux_kontext_folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

SIZED = {"shift": 3.0, "use_dynamic_shifting": True}
MODELS: dict[str, Callable[[Path], Path]] = {
    "dev": flux_folder,
    "schnell": functools.partial(flux_folder, distilled=False, scheduler={"shift": 1.0}),
    "dev, shift 3": functools.partial(flux_folder, scheduler={"shift": 3.0}),
    "sized schnell": functools.partial(flux_folder, distilled=False, scheduler=SIZED),
    "stretched": functools.partial(flux_folder, scheduler={**SIZED, "shift_terminal": 0.05}),
    "500 timesteps": functools.partial(flux_folder, scheduler={"num_train_timesteps": 500}),
    "fill": flux_fill_folder,
    "kontext": flux_kontext_folder,
}
TEXT = ("dev", "schnell", "dev, shift 3", "sized schnell", "stretched", "500 timesteps")
"""Models without extra input channels."""
PROMPT = "a red apple on white"
STEPS = 6
IMAGE = sample_image((16, 16))
ODD = ((9, 5), (1, 1), (23, 16))
"""Sizes that are no multiples of a patch."""


class TestSchnell(BackendTests):
    name = "flux"

    @classmethod
    def folder(cls, path: Path) -> Path:
        return MODELS["schnell"](path)


@functools.cache
def load_both(kind: str) -> tuple[Any, Any]:
    """One tiny folder, loaded by editkit and by diffusers."""
    with tempfile.TemporaryDirectory() as directory:
        folder = MODELS[kind](Path(directory))
        return editkit.load_model(folder, device="cpu"), DiffusionPipeline.from_pretrained(folder)


def model_of(kind: str) -> Any:
    """A backend that may take guidance scales and extra channels."""
    return load_both(kind)[0]


def guidance_arguments(kind: str, scale: float) -> dict[str, Any]:
    """Arguments of diffusers for editkit's guidance."""
    if "distilled-guidance" in load_both(kind)[0].provides:
        return {"guidance_scale": scale}
    return {"true_cfg_scale": scale, "negative_prompt": ""}


def run_diffusers(pipeline: Any, width: int = 16, height: int = 16, **arguments: Any) -> Tensor:
    """Latents of a diffusers pipeline, unpacked; its noise has the seed of editkit's."""
    pipeline.set_progress_bar_config(disable=True)
    arguments = {"num_inference_steps": STEPS, "output_type": "latent", "width": width, "height": height, **arguments}
    latents: Tensor = pipeline(prompt=PROMPT, generator=torch.Generator().manual_seed(7), **arguments).images
    return unpack(latents, height // 2, width // 2)


def run_editkit(operation: str, *images: Image.Image, model: Backend, **params: Any) -> Any:
    return editkit.apply(operation, *images, model=model, **{"prompt": PROMPT, "steps": STEPS, "seed": 7, **params})


def box(*corners: int) -> Image.Image:
    """A mask of IMAGE's size, white in a box; latents are 2 x 2 pixels."""
    mask = Image.new("L", IMAGE.size)
    mask.paste(255, corners)
    return mask


def levels(mask: Image.Image) -> Tensor:
    """A mask as (1, 1, H, W) in [0, 1]."""
    return torch.from_numpy(np.asarray(mask, dtype=np.float32))[None, None] / 255


# Agreement


@pytest.mark.parametrize("kind", TEXT)
@pytest.mark.parametrize("guidance", [1.0, 3.5])
def test_generate_agrees_with_diffusers(kind: str, guidance: float) -> None:
    model, pipeline = load_both(kind)
    expected = run_diffusers(pipeline, 24, 16, **guidance_arguments(kind, guidance))
    for sampler in ("euler", "ddim"):
        result = run_editkit("generate", model=model, width=24, height=16, guidance=guidance, sampler=sampler)
        assert_agree(result.latents, expected)


@pytest.mark.parametrize("kind", TEXT)
@pytest.mark.parametrize(("strength", "guidance"), [(0.5, 3.5), (1.0, 1.0)])
def test_img2img_agrees_with_diffusers(kind: str, strength: float, guidance: float) -> None:
    """Both start from the same clean latents: for latents as image, diffusers skips sampling the autoencoder."""
    model, pipeline = load_both(kind)
    expected = run_diffusers(
        FluxImg2ImgPipeline.from_pipe(pipeline),
        image=model.encode(to_tensor(IMAGE)),
        strength=strength,
        **guidance_arguments(kind, guidance),
    )
    result = run_editkit("img2img", IMAGE, model=model, strength=strength, guidance=guidance)
    assert_agree(result.latents, expected)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_masked_img2img_agrees_with_diffusers(strength: float) -> None:
    """At strength 1 both encode the source without the pixels under the mask."""
    (model, pipeline), mask = load_both("dev"), box(4, 4, 12, 10)
    pixels = to_tensor(IMAGE)
    clean = model.encode(erase(pixels, levels(mask)) if strength == 1 else pixels)
    expected = run_diffusers(
        FluxInpaintPipeline.from_pipe(pipeline),
        image=clean,
        mask_image=mask,
        masked_image_latents=clean,
        strength=strength,
        guidance_scale=3.5,
    )
    result = run_editkit("img2img", IMAGE, model=model, mask=mask, strength=strength, guidance=3.5)
    assert_agree(result.latents, expected)


@torch.no_grad()
def test_decoded_pixels_agree_with_diffusers() -> None:
    model, pipeline = load_both("dev")
    result = run_editkit("generate", model=model, width=16, height=16)
    pipeline.set_progress_bar_config(disable=True)
    random = torch.Generator().manual_seed(7)
    arguments = {"width": 16, "height": 16, "num_inference_steps": STEPS, "output_type": "pt"}
    assert largest(model.decode(result.latents) - pipeline(PROMPT, generator=random, **arguments).images) < 1e-4


# Inpainting


class KeepProtected:
    """Callback that sets protected latents to the noised source after each step, as diffusers' pipeline does not."""

    def __init__(self, clean: Tensor, mask: Image.Image) -> None:
        self.clean = clean
        self.noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(7))
        self.free = F.max_pool2d(levels(mask), 2)

    def __call__(self, pipeline: Any, step: int, timestep: Tensor, arguments: dict[str, Tensor]) -> dict[str, Tensor]:
        sigma = pipeline.scheduler.sigmas[pipeline.scheduler.step_index]
        source = pack((1 - sigma) * self.clean + sigma * self.noise)
        return {"latents": torch.where(pack(self.free.expand_as(self.clean)) > 0, arguments["latents"], source)}


@pytest.mark.parametrize("mask", [box(0, 0, 16, 16), box(2, 4, 10, 12)], ids=["all", "some"])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_inpaint_with_a_fill_model_agrees_with_diffusers(mask: Image.Image, strength: float) -> None:
    model, pipeline = load_both("fill")
    narrow(pipeline.vae)
    pixels, keep = to_tensor(IMAGE), KeepProtected(model.encode(to_tensor(IMAGE)), mask)
    schedule = model.schedule.for_shape(keep.clean.shape[1:])
    path = start_at(schedule, make_path(schedule, STEPS, model.grid), strength)
    start = add_noise(keep.clean, keep.noise, path[0])
    expected = run_diffusers(
        pipeline,
        image=IMAGE,
        mask_image=mask,
        latents=pack(start),
        strength=strength,
        guidance_scale=30.0,
        callback_on_step_end=keep,
    )
    condition = model.with_guidance_scale(
        {**model.embed([PROMPT]), **model.inpainting_condition(pixels, levels(mask))}, 30.0
    )
    control = NoisedSourceChangeMap(keep.free, path, keep.clean, keep.noise)
    step = installed().build("samplers", "euler")
    *_, latents = walk(step, Conditioned(model.denoise, condition), start, path, controls=[control])
    assert_agree(latents, expected)


@torch.no_grad()
def test_the_mask_condition_equals_that_of_diffusers() -> None:
    model, pipeline = load_both("fill")
    mask = box(2, 4, 9, 11)
    visible = torch.where(levels(mask) > 0, 0.5, to_tensor(IMAGE))
    mean = pipeline.vae.encode(visible * 2 - 1).latent_dist.mode()
    mask_latents, image_latents = pipeline.prepare_mask_latents(
        levels(mask), mean, 1, 16, 1, 16, 16, mean.dtype, mean.device, None
    )
    condition = model.inpainting_condition(to_tensor(IMAGE), levels(mask))["image_latents"]
    assert largest(pack(condition) - torch.cat([image_latents, mask_latents], -1)) < 1e-5


def test_inpaint_conditions_on_the_mask_and_the_guidance_scale() -> None:
    def inpainted(mask: Image.Image, guidance: float) -> Any:
        image = run_editkit("inpaint", IMAGE, model=model_of("fill"), mask=mask, guidance=guidance).image
        return np.asarray(image)[6:10, 4:8]

    one = inpainted(box(2, 4, 10, 12), 30.0)
    assert np.array_equal(one, inpainted(box(2, 4, 10, 12), 30.0))
    assert not np.array_equal(one, inpainted(box(2, 4, 10, 14), 30.0))
    assert not np.array_equal(one, inpainted(box(2, 4, 10, 12), 1.0))


@torch.no_grad()
def narrow(autoencoder: Any) -> None:
    """Remove the variance of the autoencoder's distributions: a sample equals the mean."""
    autoencoder.quant_conv.weight[16:] = 0
    autoencoder.quant_conv.bias[16:] = -30


# Instructions


def test_a_reference_agrees_with_diffusers_at_its_own_proportions(tmp_path: Path) -> None:
    """At the size of the published model, where the pipeline takes the nearest of its own resolutions."""
    folder = flux_kontext_folder(tmp_path, side=1024, halvings=6)
    pipeline, model = DiffusionPipeline.from_pretrained(folder), editkit.load_model(folder, device="cpu")
    assert (model.native_size, model.multiple) == (1024, 128)
    image = sample_image((300, 190))
    result = editkit.apply("instruct", image, model=model, instruction=PROMPT, steps=2, seed=7)
    width, height = result.report.working_size
    assert (width, height) == (1408, 896)
    pipeline.set_progress_bar_config(disable=True)
    latents = pipeline(
        prompt=PROMPT,
        image=image,
        width=width,
        height=height,
        max_area=width * height,
        num_inference_steps=2,
        guidance_scale=2.5,
        generator=torch.Generator().manual_seed(7),
        output_type="latent",
    ).images
    assert_agree(result.latents, unpack(latents, height // 64, width // 64))


@pytest.mark.parametrize("guidance", [None, 4.0])
def test_instruct_agrees_with_diffusers(guidance: float | None) -> None:
    model, pipeline = load_both("kontext")
    expected = run_diffusers(
        pipeline,
        image=model.encode(to_tensor(IMAGE)),
        max_area=16 * 16,
        guidance_scale=guidance or 2.5,
    )
    result = editkit.apply("instruct", IMAGE, model=model, instruction=PROMPT, guidance=guidance, steps=STEPS, seed=7)
    assert_agree(result.latents, expected)
    assert result.report.network_samples == STEPS
    assert result.report.guidance == (guidance or 2.5)


def test_an_instruction_without_an_image_samples_from_noise() -> None:
    model, pipeline = load_both("kontext")
    expected = run_diffusers(pipeline, max_area=16 * 16, guidance_scale=2.5)
    assert_agree(run_editkit("generate", model=model, width=16, height=16).latents, expected)


# Guidance


def test_distilled_guidance_needs_one_call_and_others_two() -> None:
    for kind, samples in (("dev", STEPS), ("schnell", 2 * STEPS)):
        report = run_editkit("generate", model=model_of(kind), width=16, height=16, guidance=3.5).report
        assert report.network_calls == STEPS
        assert report.network_samples == samples


@pytest.mark.parametrize("kind", ["dev", "kontext"])
def test_a_negative_prompt_beside_a_distilled_scale_agrees_with_diffusers(kind: str) -> None:
    model, pipeline = load_both(kind)
    size = {"width": 16, "height": 16} | ({"max_area": 16 * 16} if kind == "kontext" else {})
    expected = run_diffusers(pipeline, guidance_scale=3.5, true_cfg_scale=3.0, negative_prompt="a pear", **size)
    given = {"guidance": 3.5, "negative_guidance": 3.0, "width": 16, "height": 16}
    result = run_editkit("generate", model=model, negative_prompt="a pear", **given)
    assert_agree(result.latents, expected)
    assert (result.report.network_samples, result.report.warnings) == (2 * STEPS, ())


def test_negative_guidance_of_a_model_of_two_estimates_is_a_warning() -> None:
    report = run_editkit("generate", model=model_of("schnell"), width=16, height=16, negative_guidance=3.0).report
    assert "negative_guidance=3.0 has no effect" in report.warnings[0]


def test_guidance_is_1_outside_its_interval() -> None:
    def generate(**params: float) -> Tensor:
        latents: Tensor = run_editkit("generate", model=model_of("dev"), width=16, height=16, **params).latents
        return latents

    assert torch.equal(generate(guidance=9.0, guidance_end=0.0), generate(guidance=1.0))
    assert torch.equal(generate(guidance=9.0, guidance_end=1.0), generate(guidance=9.0))
    assert not torch.equal(generate(guidance=9.0, guidance_end=0.5), generate(guidance=9.0))


def test_an_embedded_prompt_is_not_guided() -> None:
    model, x = model_of("dev"), random_latents(2, shape=(16, 8, 12)).float()
    condition = model.embed(["a red apple", "a green pear"])
    point = model.schedule.point(600)
    assert torch.equal(
        model.denoise(x, point, condition), model.denoise(x, point, model.with_guidance_scale(condition, 1.0))
    )
    assert (
        largest(model.denoise(x, point, condition) - model.denoise(x, point, model.with_guidance_scale(condition, 4.0)))
        > 1e-3
    )


@pytest.mark.parametrize("params", [{"negative_prompt": "a pear"}, {"guidance_rescale": 0.5}])
def test_operations_with_two_estimates_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(MissingCapability, match=rf"{next(iter(params))}= needs .* provides distilled-guidance"):
        run_editkit("generate", model=model_of("dev"), **params)
    assert run_editkit("generate", model=model_of("schnell"), width=16, height=16, **params).image.size == (16, 16)


def test_operations_with_three_estimates_are_refused() -> None:
    with pytest.raises(MissingCapability, match=r"image_guidance=2 needs .* computes one"):
        editkit.apply("instruct", IMAGE, model=model_of("kontext"), instruction="a pear", image_guidance=2.0)


# Edits


@pytest.mark.parametrize("size", ODD)
def test_images_of_any_size_are_edited(size: tuple[int, int]) -> None:
    image = sample_image(size)
    for kind in ("dev", "schnell", "fill", "kontext"):
        model = model_of(kind)
        assert run_editkit("generate", model=model, width=size[0], height=size[1], steps=2).image.size == size
        redrawn = run_editkit("img2img", image, model=model, steps=2).image
        assert redrawn.size == size
        assert redrawn.tobytes() != image.tobytes()
        assert run_editkit("img2img", image, model=model, steps=2, strength=0.0).image.tobytes() == image.tobytes()


@pytest.mark.parametrize("size", ODD)
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_an_edit_by_inversion_reconstructs_its_source_exactly(size: tuple[int, int], guidance: float) -> None:
    arguments = {"model": model_of("dev"), "source": "a red apple", "inverter": "pinned", "guidance": guidance}
    edited = editkit.apply("prompt-edit", sample_image(size), target="a green pear", steps=3, seed=0, **arguments)
    assert edited.image.size == size
    assert edited.report.recon_psnr == edited.report.vae_psnr
    same = editkit.apply("prompt-edit", sample_image(size), target="a red apple", steps=3, seed=0, **arguments)
    assert same.image.tobytes() == sample_image(size).tobytes()


@pytest.mark.parametrize("kind", ["dev", "fill", "kontext"])
@pytest.mark.parametrize("operation", ["inpaint", "img2img"])
def test_outside_a_mask_nothing_changes(kind: str, operation: str) -> None:
    image, mask = sample_image((23, 17)), Image.new("L", (23, 17))
    mask.paste(255, (3, 5, 14, 13))
    edited = run_editkit(operation, image, model=model_of(kind), mask=mask)
    assert edited.report.untouched_max_diff == 0
    changed = np.any(np.asarray(edited.image) != np.asarray(image), axis=-1)
    assert changed.any()
    assert not changed[np.asarray(mask) == 0].any()


def test_an_instruction_stays_within_its_mask() -> None:
    image, mask = sample_image((23, 17)), Image.new("L", (23, 17))
    mask.paste(255, (3, 5, 14, 13))
    edited = editkit.apply(
        "instruct", image, model=model_of("kontext"), instruction="a green pear", mask=mask, steps=3, seed=0
    )
    assert edited.report.untouched_max_diff == 0
    assert edited.image.size == image.size


# Tokens


def test_packing_agrees_with_diffusers_and_is_invertible() -> None:
    latents = random_latents(2, shape=(16, 8, 12))
    tokens = FluxPipeline._pack_latents(latents, 2, 16, 8, 12)
    assert torch.equal(pack(latents), tokens)
    assert torch.equal(unpack(tokens, 8, 12), latents)


def test_a_network_of_another_family_is_refused(tmp_path: Path) -> None:
    index = flux_folder(tmp_path) / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": "FluxFillPipeline"}))
    with pytest.raises(WeightsUnavailable, match="has 64 channels per token and its pipeline 144"):
        editkit.load_model(tmp_path, device="cpu")


def test_unsupported_operations_are_refused_by_name() -> None:
    with pytest.raises(MissingCapability, match=r"needs instructions or references; .* provides .*text"):
        editkit.apply("instruct", IMAGE, model=model_of("dev"), steps=2, instruction="a pear", method="ip2p")
    for kind in ("fill", "kontext"):
        with pytest.raises(MissingCapability, match=r"needs controlnet; .* provides .*text"):
            editkit.apply("control", IMAGE, model=model_of(kind), steps=2, kind="edge")
