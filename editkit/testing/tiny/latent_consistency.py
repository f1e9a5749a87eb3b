"""Latent consistency models: shaped like Stable Diffusion, with the guidance scale as input, for few steps."""

from __future__ import annotations

from pathlib import Path

import torch

from .parts import autoencoder, clip_text, save_folder, tokenizer
from .stable_diffusion import text_unet


def latent_consistency_folder(path: Path, *, seed: int = 0) -> Path:
    """Write a latent consistency model of random weights for images of 16 x 16 pixels, and return its folder.

    Latents are (4, h / 2, w / 2). The folder loads in :func:`editkit.load_model` and in diffusers' own pipelines.
    """
    from diffusers import LCMScheduler

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet, vae, text_encoder = text_unet(time_cond_proj_dim=16), autoencoder(False), clip_text()
    return save_folder(
        path,
        "LatentConsistencyModelPipeline",
        {
            "unet": unet,
            "vae": vae,
            "text_encoder": text_encoder,
            "tokenizer": tokenizer(),
            "scheduler": LCMScheduler(),
            "safety_checker": None,
            "feature_extractor": None,
            "image_encoder": None,
        },
        requires_safety_checker=False,
    )
