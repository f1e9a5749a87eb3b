"""Models of pixels, unconditional or class-conditional."""

from __future__ import annotations

from pathlib import Path

import torch

from .parts import save_folder


def pixel_ddpm_folder(path: Path, *, classes: int | None = None, seed: int = 0) -> Path:
    """Write a model of random weights for images of 16 x 16 pixels, and return its folder.

    It is unconditional, or draws things of so many ``classes``.
    """
    from diffusers import DDPMScheduler, UNet2DModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DModel(
            sample_size=16,
            num_class_embeds=classes,
            layers_per_block=1,
            block_out_channels=(8, 16),
            norm_num_groups=4,
            attention_head_dim=4,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        )
    return save_folder(path, "DDPMPipeline", {"unet": unet, "scheduler": DDPMScheduler()})
