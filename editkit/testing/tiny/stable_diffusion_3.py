"""Models shaped like Stable Diffusion 3 and 3.5, and their ControlNets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from .parts import autoencoder, clip_text, save_folder, t5_text, t5_tokenizer, tokenizer

WIDTHS: dict[str, Any] = {
    "sample_size": 8,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "caption_projection_dim": 16,
    "pooled_projection_dim": 24,
    "pos_embed_max_size": 16,
}
"""Configuration that a network shares with its ControlNets."""
TEXT = 32
"""Width of the text."""


def stable_diffusion_3_folder(
    path: Path, *, scheduler: dict[str, Any] | None = None, t5: bool = True, seed: int = 0
) -> Path:
    """Write a Stable Diffusion 3 of random weights for images of 16 x 16 pixels, and return its folder.

    Latents are (16, h / 2, w / 2). ``scheduler`` configures the flow; without ``t5`` the third text encoder is left
    out. The folder loads in :func:`editkit.load_model` and in diffusers' own pipelines.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = SD3Transformer2DModel(
            num_layers=2,
            joint_attention_dim=TEXT,
            **WIDTHS,
            # The first layer as in version 3.5.
            dual_attention_layers=(0,),
            qk_norm="rms_norm",
        )
        vae = autoencoder(False, scaling_factor=1.5305, shift_factor=0.0609, latent_channels=16)
        clips = clip_text(16, 2, projected=True), clip_text(8, 2, projected=True)
        longer = t5_text(TEXT) if t5 else None
    return save_folder(
        path,
        "StableDiffusion3Pipeline",
        {
            "transformer": transformer,
            "vae": vae,
            "text_encoder": clips[0],
            "tokenizer": tokenizer(),
            "text_encoder_2": clips[1],
            "tokenizer_2": tokenizer(),
            "text_encoder_3": longer,
            "tokenizer_3": t5_tokenizer() if t5 else None,
            "scheduler": FlowMatchEulerDiscreteScheduler(**(scheduler or {"shift": 3.0})),
            "image_encoder": None,
            "feature_extractor": None,
        },
    )


def stable_diffusion_3_controlnet_folder(path: Path, *, large: bool = False, layers: int = 1, seed: int = 0) -> Path:
    """Write a ControlNet of random weights for the models above, and return its folder.

    A ``large`` one takes the pooled text and no other, as those of version 3.5 large do.
    """
    from diffusers import SD3ControlNetModel

    kind: dict[str, Any] = {"joint_attention_dim": TEXT}
    if large:
        kind = {"joint_attention_dim": None, "use_pos_embed": False, "force_zeros_for_pooled_projection": False}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = SD3ControlNetModel(num_layers=layers, **WIDTHS, **kind)
        for silent in (net.pos_embed_input.proj, *net.controlnet_blocks):
            silent.reset_parameters()
    net.save_pretrained(path)
    return path
