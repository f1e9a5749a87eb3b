"""The forward process that every denoiser of this folder is trained on."""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from editkit import PointBatch, VariancePreserving, scaled_linear
from editkit_emoji.training.autoencoder import to_network

SCHEDULE = VariancePreserving.from_betas(scaled_linear(), zero_terminal_snr=True)


@torch.no_grad()
def encode(vae: AutoencoderKL, pixels: np.ndarray) -> Tensor:
    """Latents (N, C, h, w) of images (N, H, W, 3) uint8."""
    return torch.cat(
        [vae.encode(to_network(part)).latent_dist.mode() for part in torch.split(torch.tensor(pixels), 64)]
    )


def stratified_timesteps(count: int, generator: torch.Generator) -> Tensor:
    """Timesteps (count,) int64, one from each of ``count`` equal parts: uniform, and evenly spread in every batch."""
    places = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    return (places * SCHEDULE.train_steps).long()


def diffuse(latents: Tensor, noise: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """Noisy latents and the v to be predicted for them, both (B, C, h, w), a timestep (B,) for each row."""
    points = PointBatch(tuple(SCHEDULE.point(int(timestep)) for timestep in timesteps))
    alphas, sigmas = points.coefficients(latents)
    return alphas * latents + sigmas * noise, alphas * noise - sigmas * latents
