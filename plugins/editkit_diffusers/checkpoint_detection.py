"""Checkpoints in one file, as these models were first published: which model's configuration each is built on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]
"""The tensors of a file by name."""

FIRST = "model.diffusion_model.input_blocks.0.0.weight"
"""The first convolution of a UNet: its second number is how many channels it sees."""
CLIP = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
OPEN_CLIP = "cond_stage_model.model.token_embedding.weight"
SECOND_OF_TWO = "conditioner.embedders.1.model.token_embedding.weight"
ALONE = "conditioner.embedders.0.model.token_embedding.weight"
BASES = {
    (CLIP, 4): "stable-diffusion-v1-5/stable-diffusion-v1-5",
    (CLIP, 8): "timbrooks/instruct-pix2pix",
    (CLIP, 9): "stable-diffusion-v1-5/stable-diffusion-inpainting",
    (OPEN_CLIP, 4): "stabilityai/stable-diffusion-2-1",
    (OPEN_CLIP, 9): "stabilityai/stable-diffusion-2-inpainting",
}
UPSCALERS = {(OPEN_CLIP, 7): "stabilityai/stable-diffusion-x4-upscaler"}
XL_BASES = {
    (SECOND_OF_TWO, 4): "stabilityai/stable-diffusion-xl-base-1.0",
    (SECOND_OF_TWO, 8): "diffusers/sdxl-instructpix2pix-768",
    (SECOND_OF_TWO, 9): "diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
    (ALONE, 4): "stabilityai/stable-diffusion-xl-refiner-1.0",
}
"""Hub ids by text encoder and channels."""
OTHERS = {"edm_mean", "edm_vpred.sigma_max"}
"""Tensors of models that only look like SDXL: their noise levels are others."""
VELOCITY, DARK = "v_pred", "ztsnr"
"""Empty tensors by which trainers say that a network predicts velocities, and that its path begins in pure noise."""


def recognise_stable_diffusion(shapes: Shapes) -> str | None:
    return base_of(shapes, BASES)


def recognise_upscaler(shapes: Shapes) -> str | None:
    return base_of(shapes, UPSCALERS)


def recognise_stable_diffusion_xl(shapes: Shapes) -> str | None:
    return base_of(shapes, XL_BASES) if OTHERS.isdisjoint(shapes) else None


def base_of(shapes: Shapes, bases: Mapping[tuple[str, int], str]) -> str | None:
    seen = shapes.get(FIRST, (0, 0))[1]
    return next((base for (encoder, channels), base in bases.items() if encoder in shapes and channels == seen), None)


def trained_as(names: Collection[str]) -> dict[str, Any]:
    """What a scheduler is to be told of a checkpoint with tensors of these names."""
    said: dict[str, Any] = {"prediction_type": "v_prediction"} if VELOCITY in names else {}
    return said | ({"rescale_betas_zero_snr": True} if DARK in names else {})
