"""Models shaped like PixArt-alpha and PixArt-Sigma."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from .parts import autoencoder, save_folder, t5_text, t5_tokenizer

PixArtKind = Literal["PixArtAlphaPipeline", "PixArtSigmaPipeline"]


def pixart_folder(path: Path, *, kind: PixArtKind = "PixArtAlphaPipeline", sample_size: int = 8, seed: int = 0) -> Path:
    """Write a PixArt of random weights for images of 16 x 16 pixels, and return its folder.

    Latents are (4, h / 2, w / 2), ``sample_size`` is the side of the training latents: at 128 the network has
    the size of the image as input. The folder loads in :func:`editkit.load_model` and in diffusers' own pipeline.
    """
    from diffusers import DPMSolverMultistepScheduler, PixArtTransformer2DModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = PixArtTransformer2DModel(
            sample_size=sample_size,
            num_layers=2,
            num_attention_heads=2,
            # The embeddings of height, width and their ratio make up the inner dimension, a third each.
            attention_head_dim=12,
            in_channels=4,
            out_channels=8,
            cross_attention_dim=24,
            caption_channels=16,
        )
        vae, text_encoder = autoencoder(False), t5_text()
    return save_folder(
        path,
        kind,
        {
            "transformer": transformer,
            "vae": vae,
            "text_encoder": text_encoder,
            "tokenizer": t5_tokenizer(),
            "scheduler": DPMSolverMultistepScheduler(beta_schedule="scaled_linear", beta_start=8.5e-4, beta_end=0.012),
        },
    )
