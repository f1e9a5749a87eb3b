"""Models shaped like Stable Diffusion 1 and 2, their inpainting and instruction variants, ControlNet and upscaler."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from .parts import SCHEDULER, PredictionType, autoencoder, clip_text, save_folder, tokenizer


def stable_diffusion_folder(
    path: Path, *, prediction_type: PredictionType = "epsilon", tiny_autoencoder: bool = False, seed: int = 0
) -> Path:
    """Write a Stable Diffusion of random weights for images of 16 x 16 pixels, and return its folder.

    Latents are (4, h / 2, w / 2). The folder loads in :func:`editkit.load_model` and in diffusers' own pipelines.
    """
    return _write_stable_diffusion(
        path, "StableDiffusionPipeline", 4, prediction_type, tiny_autoencoder=tiny_autoencoder, seed=seed
    )


def inpainting_folder(path: Path, *, prediction_type: PredictionType = "epsilon", seed: int = 0) -> Path:
    """Write the same with a network conditioned on a mask and the unmasked latents, and return its folder."""
    return _write_stable_diffusion(path, "StableDiffusionInpaintPipeline", 9, prediction_type, seed=seed)


def instruct_folder(path: Path, *, prediction_type: PredictionType = "epsilon", seed: int = 0) -> Path:
    """Write the same with a network conditioned on the latents of an image, and return its folder."""
    return _write_stable_diffusion(path, "StableDiffusionInstructPix2PixPipeline", 8, prediction_type, seed=seed)


def controlnet_folder(path: Path, *, seed: int = 0) -> Path:
    """Write a ControlNet of random weights for the models above, and return its folder.

    Unlike one whose training has not begun, it has something to say.
    """
    return write_controlnet(path, text_unet, seed)


def write_controlnet(path: Path, unet: Callable[[], Any], seed: int) -> Path:
    from diffusers import ControlNetModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ControlNetModel.from_unet(unet(), conditioning_embedding_out_channels=(8, 16))
        for silent in (net.controlnet_cond_embedding.conv_out, *net.controlnet_down_blocks, net.controlnet_mid_block):
            silent.reset_parameters()
    net.save_pretrained(path)
    return path


def upscaler_folder(path: Path, *, seed: int = 0) -> Path:
    """Write a model that enlarges 4 times, of random weights, for images of 32 x 32 pixels, and return its folder.

    Latents are (4, h / 4, w / 4). The folder loads in :func:`editkit.load_model` and in diffusers' own pipeline.
    """
    from diffusers import DDIMScheduler, DDPMScheduler

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = text_unet(in_channels=7, num_class_embeds=1000)
        vae, text_encoder = autoencoder(False, (8, 8, 16), scaling_factor=0.08333), clip_text()
    return save_folder(
        path,
        "StableDiffusionUpscalePipeline",
        {
            "unet": unet,
            "vae": vae,
            "text_encoder": text_encoder,
            "tokenizer": tokenizer(),
            "scheduler": DDIMScheduler(**SCHEDULER, prediction_type="v_prediction"),
            "low_res_scheduler": DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
            "safety_checker": None,
            "feature_extractor": None,
            "watermarker": None,
        },
        max_noise_level=350,
    )


def _write_stable_diffusion(
    path: Path,
    kind: str,
    in_channels: int,
    prediction_type: PredictionType,
    *,
    tiny_autoencoder: bool = False,
    seed: int = 0,
) -> Path:
    from diffusers import DDIMScheduler

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet, vae, text_encoder = text_unet(in_channels), autoencoder(tiny_autoencoder), clip_text()
    return save_folder(
        path,
        kind,
        {
            "unet": unet,
            "vae": vae,
            "text_encoder": text_encoder,
            "tokenizer": tokenizer(),
            "scheduler": DDIMScheduler(**SCHEDULER, prediction_type=prediction_type),
            "safety_checker": None,
            "feature_extractor": None,
            "image_encoder": None,
        },
        requires_safety_checker=False,
    )


def text_unet(in_channels: int = 4, num_class_embeds: int | None = None, time_cond_proj_dim: int | None = None) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8,
        in_channels=in_channels,
        out_channels=4,
        num_class_embeds=num_class_embeds,
        time_cond_proj_dim=time_cond_proj_dim,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
