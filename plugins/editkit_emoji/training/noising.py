"""Forward process of all denoisers of this folder."""

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
    """Encode images (N, H, W, 3) uint8 to latents (N, C, h, w)."""
    return torch.cat(
        [vae.encode(to_network(part)).latent_dist.mode() for part in torch.split(torch.tensor(pixels), 64)]
    )


def stratified_timesteps(count: int, generator: torch.Generator) -> Tensor:
    """Sample timesteps (count,) int64, one from each of ``count`` equal parts of the range, uniformly."""
    places = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    return (places * SCHEDULE.train_steps).long()


def diffuse(latents: Tensor, noise: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """Return noisy latents and the target v, both (B, C, h, w), for a timestep (B,) per row."""
    points = PointBatch(tuple(SCHEDULE.point(int(timestep)) for timestep in timesteps))
    alphas, sigmas = points.coefficients(latents)
    return alphas * latents + sigmas * noise, alphas * noise - sigmas * latents
