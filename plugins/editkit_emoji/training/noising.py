"""Forward process of all denoisers of this folder."""

from __future__ import annotations

import functools

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from editkit import PointBatch, VariancePreserving, scaled_linear
from editkit_emoji.training.autoencoder import to_network

SCHEDULE = VariancePreserving.from_betas(scaled_linear(), zero_terminal_snr=True)


@torch.no_grad()
def encode(vae: AutoencoderKL, pixels: np.ndarray) -> Tensor:
    """Encode images (N, H, W, 3) uint8 to latents (N, C, h, w) on the device of the autoencoder."""
    parts = torch.split(torch.tensor(pixels), 64)
    return torch.cat([vae.encode(to_network(part.to(vae.device))).latent_dist.mode() for part in parts])


def stratified_timesteps(count: int, generator: torch.Generator) -> Tensor:
    """Sample timesteps (count,) int64, one from each of ``count`` equal parts of the range, uniformly."""
    device = generator.device
    places = (torch.arange(count, device=device) + torch.rand(count, generator=generator, device=device)) / count
    return (places * SCHEDULE.train_steps).long()


@functools.cache
def _coefficients(device: torch.device) -> tuple[Tensor, Tensor]:
    """Alpha and sigma (T, 1, 1, 1) of all timesteps."""
    points = PointBatch(tuple(map(SCHEDULE.point, range(SCHEDULE.train_steps))))
    alphas, sigmas = map(torch.as_tensor, points.coefficients(torch.zeros(len(points.points), 1, 1, 1)))
    return alphas.to(device), sigmas.to(device)


def diffuse(latents: Tensor, noise: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """Return noisy latents and the target v, both (B, C, h, w), for a timestep (B,) per row."""
    alphas, sigmas = (part[timesteps.to(latents.device)] for part in _coefficients(latents.device))
    return alphas * latents + sigmas * noise, alphas * noise - sigmas * latents
