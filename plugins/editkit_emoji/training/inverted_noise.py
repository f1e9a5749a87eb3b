"""Compare noise from DDIM inversion with white noise, and measure the DDIM reconstruction from it."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

import editkit
from editkit_emoji.training.data import Emoji

STEPS = 50


@dc.dataclass(frozen=True)
class InvertedImages:
    """Noise from DDIM inversion of images at guidance 1, and the loss of its reconstruction."""

    noise: Tensor
    """(N, C, h, w)."""
    psnr_loss: NDArray[np.float64]
    """Difference in dB (N,) between the PSNR of the autoencoder round trip and that of the reconstruction."""


def invert_images(emojis: Sequence[Emoji], pixels: NDArray[np.uint8], folder: Path) -> InvertedImages:
    """Invert and reconstruct images (N, H, W, 3), each under its caption, with the model in a folder."""
    model = editkit.load_model(folder)
    noise, psnr_loss = [], []
    for emoji, image in zip(tqdm(emojis, desc="inversions", mininterval=10), pixels, strict=True):
        inversion = editkit.invert(
            Image.fromarray(image), model=model, prompt=emoji.caption, method="ddim", steps=STEPS, cache=False
        )
        report = editkit.reconstruct(inversion, model=model).report
        assert report.vae_psnr is not None and report.recon_psnr is not None
        noise.append(inversion.noise)
        psnr_loss.append(report.vae_psnr - report.recon_psnr)
    return InvertedImages(torch.cat(noise).double(), np.array(psnr_loss))


def deviations(noise: Tensor) -> Tensor:
    """Standard deviation of each channel (C,) of noise (N, C, h, w)."""
    return noise.transpose(0, 1).flatten(1).std(1)


def neighbour_correlations(noise: Tensor) -> Tensor:
    """Correlation of each channel (C,) of noise (N, C, h, w) with itself shifted by one to the right and down."""
    channels = noise.transpose(0, 1)
    pairs = ((channels[..., 1:], channels[..., :-1]), (channels[..., 1:, :], channels[..., :-1, :]))
    one, other = (torch.cat([pair[side].flatten(1) for pair in pairs], 1) for side in (0, 1))
    return torch.stack([torch.corrcoef(torch.stack(both))[0, 1] for both in zip(one, other, strict=True)])
