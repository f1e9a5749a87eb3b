"""Rows in which both sides sample from noise or from a noised image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image

import editkit

from .comparison import FEW, STRENGTH, Comparison, drawing_row
from .fixture import PROMPT, SEED, ComparisonFixture
from .tuned_diffusers import sparing, two_branches


def img2img_row(name: str, guidance: float, families: tuple[str, ...] = ("sd",)) -> Comparison:
    return drawing_row(
        name,
        "StableDiffusionImg2ImgPipeline",
        "img2img",
        lambda fixture: {"strength": STRENGTH},
        lambda fixture: {"image": fixture.picture, "strength": STRENGTH},
        guidance=guidance,
        families=families,
    )


def control_row(name: str, *, end: float = 1.0, strength: float = 1.0) -> Comparison:
    """A row with a ControlNet, from noise or from the picture."""

    def arguments(fixture: ComparisonFixture) -> Mapping[str, Any]:
        hint = fixture.map.convert("RGB")
        given = {"control_guidance_end": end, "controlnet_conditioning_scale": 1.0}
        if strength == 1:
            return {**given, "image": hint}
        return {**given, "image": fixture.picture, "control_image": hint, "strength": strength}

    return drawing_row(
        name,
        "StableDiffusionControlNetPipeline" if strength == 1 else "StableDiffusionControlNetImg2ImgPipeline",
        "control",
        lambda fixture: {
            "controlnet": str(fixture.controlnet[0]),
            "control_image": fixture.map,
            "control_end": end,
            "strength": strength,
        },
        arguments,
        parts=lambda fixture: {"controlnet": fixture.controlnet[1]},
        spared=lambda pipeline: sparing(pipeline.controlnet),
    )


def inpaint_row(name: str, kind: str) -> Comparison:
    """A row under a mask, with any model or with one made for it.

    With the latter all is masked: what is not, editkit holds to the source and diffusers does not.
    """

    def mask_of(fixture: ComparisonFixture) -> Image.Image:
        return fixture.mask if kind == "text" else fixture.whole

    def arguments(fixture: ComparisonFixture) -> Mapping[str, Any]:
        side = fixture.size
        return {"image": fixture.picture, "mask_image": mask_of(fixture), "height": side, "width": side}

    return drawing_row(
        name, "StableDiffusionInpaintPipeline", "inpaint", lambda s: {"mask": mask_of(s)}, arguments, kind=kind
    )


def instruct_row(name: str, image_guidance: float) -> Comparison:
    return drawing_row(
        name,
        "StableDiffusionInstructPix2PixPipeline",
        "instruct",
        lambda fixture: {"instruction": PROMPT, "image_guidance": image_guidance},
        lambda fixture: {"image": fixture.picture, "image_guidance_scale": image_guidance},
        kind="instructions",
        spared=(lambda pipeline: two_branches(pipeline.unet)) if image_guidance == 1 else None,
    )


def _batch_params(fixture: ComparisonFixture) -> Mapping[str, Any]:
    return {"prompt": PROMPT, "strength": STRENGTH, "guidance": 7.5, "steps": min(FEW, fixture.steps)}


def editkit_batch(fixture: ComparisonFixture) -> Any:
    """Edits in lock step, each with the same seed."""
    return editkit.apply_all(
        "img2img", fixture.several, model=fixture.model, seed=SEED, cache=False, **_batch_params(fixture)
    )


def diffusers_batch(fixture: ComparisonFixture) -> Any:
    """diffusers takes several in one call, each with a generator of its own."""
    made = fixture.pipeline("StableDiffusionImg2ImgPipeline")
    return made(
        [PROMPT] * len(fixture.several),
        image=fixture.several,
        strength=STRENGTH,
        num_inference_steps=min(FEW, fixture.steps),
        guidance_scale=7.5,
        generator=[fixture.generator() for _ in fixture.several],
    )


def editkit_outpainting(fixture: ComparisonFixture) -> Any:
    return fixture.edit(
        "outpaint", fixture.picture, prompt=PROMPT, right=fixture.size // 2, guidance=7.5, steps=fixture.steps
    )


def diffusers_outpainting(fixture: ComparisonFixture) -> Any:
    """diffusers has no class for it: the picture on a wider canvas, and a mask over what is new."""
    canvas = Image.new("RGB", (fixture.size * 3 // 2, fixture.size), (128, 128, 128))
    mask = Image.new("L", canvas.size, 255)
    canvas.paste(fixture.picture)
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
    return fixture.edit("upscale", _quarter_size(fixture), prompt=PROMPT, scale=4, guidance=7.5, steps=FEW)


def diffusers_upscaling(fixture: ComparisonFixture) -> Any:
    return fixture.pipeline("StableDiffusionUpscalePipeline")(
        PROMPT,
        image=_quarter_size(fixture),
        num_inference_steps=FEW,
        guidance_scale=7.5,
        generator=fixture.generator(),
    )


def _quarter_size(fixture: ComparisonFixture) -> Image.Image:
    """The picture, of the size that becomes the model's own."""
    return fixture.picture.resize((fixture.size // 4, fixture.size // 4))
