"""Class-conditional models shaped like DiT."""

from __future__ import annotations

from pathlib import Path

import torch

from .parts import SCHEDULER, autoencoder, save_folder

CLASSES = {
    "0": "a red apple, apple",
    "1": "a green apple, a green apple on white",
    "2": "a yellow pear, pear",
    "3": "a face",
}
"""Names of the first of its 1000 classes, as in the index."""


def dit_folder(path: Path, *, seed: int = 0) -> Path:
    """Write a DiT of random weights for images of 16 x 16 pixels, and return its folder.

    Latents are (4, h / 2, w / 2). The folder loads in :func:`editkit.load_model` and in diffusers' own pipeline.
    """
    from diffusers import DDIMScheduler, DiTTransformer2DModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = DiTTransformer2DModel(
            sample_size=8, num_layers=2, num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8
        )
        vae = autoencoder(False)
    return save_folder(
        path,
        "DiTPipeline",
        {"transformer": transformer, "vae": vae, "scheduler": DDIMScheduler(**SCHEDULER)},
        id2label=CLASSES,
    )
