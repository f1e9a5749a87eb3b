"""Models shaped like Chroma, which no backend of its own serves."""

from __future__ import annotations

from pathlib import Path

import torch

from .parts import autoencoder, save_folder, t5_text, t5_tokenizer


def chroma_folder(path: Path, *, seed: int = 0) -> Path:
    """Write a Chroma of random weights and return its folder; latents are (4, h / 2, w / 2)."""
    from diffusers import ChromaTransformer2DModel, FlowMatchEulerDiscreteScheduler

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = ChromaTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            axes_dims_rope=(4, 4, 8),
            approximator_hidden_dim=16,
            approximator_layers=1,
            approximator_num_channels=16,
        )
        vae = autoencoder(False, scaling_factor=0.3611, shift_factor=0.1159)
        text_encoder = t5_text()
    return save_folder(
        path,
        "ChromaPipeline",
        {
            "transformer": transformer,
            "vae": vae,
            "text_encoder": text_encoder,
            "tokenizer": t5_tokenizer(),
            "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
            "image_encoder": None,
            "feature_extractor": None,
        },
    )
