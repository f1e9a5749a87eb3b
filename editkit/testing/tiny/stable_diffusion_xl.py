"""Models shaped like SDXL, their inpainting and instruction variants, the refiner, and a ControlNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

from .parts import SCHEDULER, PredictionType, autoencoder, clip_text, save_folder, tokenizer
from .stable_diffusion import write_controlnet

XLKind = Literal["text", "inpainting", "instructions", "refiner"]

PIPELINES: dict[XLKind, str] = {
    "text": "StableDiffusionXLPipeline",
    "inpainting": "StableDiffusionXLInpaintPipeline",
    "instructions": "StableDiffusionXLInstructPix2PixPipeline",
    "refiner": "StableDiffusionXLImg2ImgPipeline",
}
CHANNELS: dict[XLKind, int] = {"text": 4, "inpainting": 9, "instructions": 8, "refiner": 4}
"""Input channels of the network: latents alone, with a mask and the unmasked latents, or with those of an image."""
SMALL, LARGE = 16, 32
"""Widths of the two text encoders; the larger one also gives the vector of the whole prompt."""
NUMBER = 8
"""Length of the vector that each number of the size conditioning becomes."""


def stable_diffusion_xl_folder(
    path: Path, kind: XLKind = "text", *, prediction_type: PredictionType = "epsilon", seed: int = 0
) -> Path:
    """Write an SDXL of random weights for images of 16 x 16 pixels, and return its folder.

    Latents are (4, h / 2, w / 2). The refiner has the larger text encoder alone, and an aesthetic score in the place of
    the target size. The folder loads in :func:`editkit.load_model` and in diffusers' own pipelines.
    """
    from diffusers import DDIMScheduler

    refiner = kind == "refiner"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet, vae = _xl_unet(kind), autoencoder(False, scaling_factor=0.13025)
        # Unlike the last layer, the middle layers are not projected to a common length.
        small = None if refiner else clip_text(SMALL, 2, spread=2.0)
        large = clip_text(LARGE, 2, projected=True, spread=2.0)
    scored = {"requires_aesthetics_score": True} if refiner else {}
    return save_folder(
        path,
        PIPELINES[kind],
        {
            "unet": unet,
            "vae": vae,
            "text_encoder": small,
            "text_encoder_2": large,
            "tokenizer": None if refiner else tokenizer(),
            "tokenizer_2": tokenizer(),
            "scheduler": DDIMScheduler(**SCHEDULER, prediction_type=prediction_type),
        },
        force_zeros_for_empty_prompt=not refiner,
        **scored,
    )


def controlnet_xl_folder(path: Path, *, seed: int = 0) -> Path:
    """Write a ControlNet of random weights for the models above, and return its folder."""
    return write_controlnet(path, lambda: _xl_unet("text"), seed)


def _xl_unet(kind: XLKind) -> Any:
    from diffusers import UNet2DConditionModel

    numbers, width = (5, LARGE) if kind == "refiner" else (6, SMALL + LARGE)
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=CHANNELS[kind],
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        cross_attention_dim=width,
        attention_head_dim=(2, 4),
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=NUMBER,
        projection_class_embeddings_input_dim=numbers * NUMBER + LARGE,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
