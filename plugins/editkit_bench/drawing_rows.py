"""Rows in which both sides sample from noise or from a noised image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import editkit

from .comparison import FEW_STEPS, STRENGTH, Comparison, drawing_row
from .fixture import PROMPT, SEED, ComparisonFixture
from .tuned_diffusers import cached_control_map, two_branches


def img2img_row(name: str, guidance: float, families: tuple[str, ...] = ("sd",)) -> Comparison:
    return drawing_row(
        name,
        "StableDiffusionImg2ImgPipeline",
        "img2img",
        lambda fixture: {"strength": STRENGTH},
        lambda fixture: {"image": fixture.image, "strength": STRENGTH},
        guidance=guidance,
        families=families,
    )


def control_row(name: str, *, end: float = 1.0, strength: float = 1.0) -> Comparison:
    """Return a row with a ControlNet, from noise or from the image."""

    def arguments(fixture: ComparisonFixture) -> Mapping[str, Any]:
        hint = fixture.condition_map.convert("RGB")
        shared = {"control_guidance_end": end, "controlnet_conditioning_scale": 1.0}
        if strength == 1:
            return {**shared, "image": hint}
        return {**shared, "image": fixture.image, "control_image": hint, "strength": strength}

    return drawing_row(
        name,
        "StableDiffusionControlNetPipeline" if strength == 1 else "StableDiffusionControlNetImg2ImgPipeline",
        "control",
        lambda fixture: {
            "controlnet": str(fixture.controlnet[0]),
            "control_image": fixture.condition_map,
            "control_end": end,
            "strength": strength,
        },
        arguments,
        parts=lambda fixture: {"controlnet": fixture.controlnet[1]},
        tuning=lambda pipeline: cached_control_map(pipeline.controlnet),
    )


def inpaint_row(name: str, kind: str) -> Comparison:
    """Return a row with a mask, for any model or for one made for inpainting.

    The latter gets a full mask, since only editkit keeps pixels outside the mask. Diffusers gets the source without the
    masked pixels, as editkit encodes it.
    """

    def mask_of(fixture: ComparisonFixture) -> Image.Image:
        return fixture.mask if kind == "text" else fixture.full_mask

    def arguments(fixture: ComparisonFixture) -> Mapping[str, Any]:
        side = fixture.size
        kept = editkit.erase(_levels(fixture.image), _levels(mask_of(fixture)))
        return {"image": kept, "mask_image": mask_of(fixture), "height": side, "width": side}

    return drawing_row(
        name,
        "StableDiffusionInpaintPipeline",
        "inpaint",
        lambda fixture: {"mask": mask_of(fixture)},
        arguments,
        kind=kind,
    )


def _levels(image: Image.Image) -> Tensor:
    """Return an image in mode RGB or L as (1, C, H, W) in [0, 1]."""
    levels = np.atleast_3d(np.asarray(image, dtype=np.float32) / 255)
    return torch.from_numpy(levels).permute(2, 0, 1)[None]


def instruct_row(name: str, image_guidance: float) -> Comparison:
    return drawing_row(
        name,
        "StableDiffusionInstructPix2PixPipeline",
        "instruct",
        lambda fixture: {"instruction": PROMPT, "image_guidance": image_guidance},
        lambda fixture: {"image": fixture.image, "image_guidance_scale": image_guidance},
        kind="instructions",
        tuning=(lambda pipeline: two_branches(pipeline.unet)) if image_guidance == 1 else None,
    )


def _batch_params(fixture: ComparisonFixture) -> Mapping[str, Any]:
    return {"prompt": PROMPT, "strength": STRENGTH, "guidance": 7.5, "steps": min(FEW_STEPS, fixture.steps)}


def editkit_batch(fixture: ComparisonFixture) -> Any:
    """Edit in lock step, every image with the same seed, in calls of as many rows as those of diffusers."""
    shared: dict[str, Any] = {"model": fixture.model, "seed": SEED, "cache": False, "exact": False}
    return editkit.apply_all("img2img", fixture.images, **shared, **_batch_params(fixture))


def batch_latents(fixture: ComparisonFixture) -> Tensor:
    """Return the latents of all images: editkit decodes a few of them in a call."""
    return torch.cat([result.latents for result in editkit_batch(fixture)])


def tuned_batch(fixture: ComparisonFixture) -> Any:
    embeddings = {name: one.repeat(len(fixture.images), 1, 1) for name, one in fixture.embedded_prompt.items()}
    with torch.inference_mode():
        return diffusers_batch(fixture, **embeddings)


def diffusers_batch(fixture: ComparisonFixture, **prompt: Any) -> Any:
    """Edit in one call of diffusers, every image with its own generator."""
    pipeline = fixture.pipeline("StableDiffusionImg2ImgPipeline")
    return pipeline(
        **(prompt or {"prompt": [PROMPT] * len(fixture.images)}),
        image=fixture.images,
        strength=STRENGTH,
        num_inference_steps=min(FEW_STEPS, fixture.steps),
        guidance_scale=7.5,
        generator=[fixture.generator() for _ in fixture.images],
    )


def editkit_outpainting(fixture: ComparisonFixture) -> Any:
    return fixture.edit(
        "outpaint", fixture.image, prompt=PROMPT, right=fixture.size // 2, guidance=7.5, steps=fixture.steps
    )


def diffusers_outpainting(fixture: ComparisonFixture) -> Any:
    """Inpaint on a wider canvas with a mask over the new part: diffusers has no class for outpainting."""
    canvas = Image.new("RGB", (fixture.size * 3 // 2, fixture.size), (128, 128, 128))
    mask = Image.new("L", canvas.size, 255)
    canvas.paste(fixture.image)
    mask.paste(0, (0, 0, fixture.size, fixture.size))
    return fixture.pipeline("StableDiffusionInpaintPipeline")(
        PROMPT,
        image=canvas,
        mask_image=mask,
        width=canvas.width,
        height=canvas.height,
        num_inference_steps=fixture.steps,
        guidance_scale=7.5,
        generator=fixture.generator(),
    )


def editkit_upscaling(fixture: ComparisonFixture) -> Any:
    return fixture.edit("upscale", _quarter_size(fixture), prompt=PROMPT, scale=4, guidance=7.5, steps=FEW_STEPS)


def diffusers_upscaling(fixture: ComparisonFixture) -> Any:
    return fixture.pipeline("StableDiffusionUpscalePipeline")(
        PROMPT,
        image=_quarter_size(fixture),
        num_inference_steps=FEW_STEPS,
        guidance_scale=7.5,
        generator=fixture.generator(),
    )


def _quarter_size(fixture: ComparisonFixture) -> Image.Image:
    """Return the image at a quarter of the model's size."""
    return fixture.image.resize((fixture.size // 4, fixture.size // 4))
