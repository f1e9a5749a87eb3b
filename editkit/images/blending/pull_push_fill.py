"""Smooth continuation of known values to all other places: the membrane of Poisson image editing."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

ERASING_SWEEPS = 3
"""Relaxation sweeps for pixels that are erased: the model paints over them, so a rough continuation is enough."""


def erase(pixels: Tensor, mask: Tensor) -> Tensor:
    """Replace the pixels (S, 3, H, W) where ``mask`` (1, 1, H, W) is 1 by a continuation of all others.

    The result does not depend on the replaced pixels; it is grey if the whole image is marked.
    """
    kept_mask = mask < 1
    if bool(kept_mask.all()):
        return pixels
    if not bool(kept_mask.any()):
        return torch.full_like(pixels, 0.5)
    return pull_push_fill(pixels, kept_mask, sweeps=ERASING_SWEEPS)


def pull_push_fill(values: Tensor, known_mask: Tensor, reach: float = math.inf, sweeps: int = 24) -> Tensor:
    """Continue values (1, C, H, W) from the places where ``known_mask`` (1, 1, H, W) is True to all others.

    Known values stay; every other value is the mean of its neighbours, the membrane of Poisson image editing (Perez et
    al., 2003): high frequencies fade at once, low ones carry far. With a ``reach`` in pixels the continuation also
    decays to 0, by 1 / e per reach. ``sweeps`` are the relaxations at every scale. ``values`` may have several rows.
    """
    if bool(known_mask.all()) or max(values.shape[-2:]) == 1:
        return values * known_mask
    coarse = pull_push_fill(*_downsample(values, known_mask), reach / 2, sweeps)
    film = torch.where(known_mask, values, F.interpolate(coarse, values.shape[-2:], mode="bilinear"))
    decay = 1 / (1 + 1 / (2 * reach) ** 2)
    for _ in range(sweeps):
        film = torch.where(known_mask, values, mean_of_neighbours(film) * decay)
    return film


def _downsample(values: Tensor, known_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Values at half the size, each the mean of the known ones under it, and the mask of those with any."""
    share = F.avg_pool2d(known_mask.to(values), 2, ceil_mode=True)
    return F.avg_pool2d(values * known_mask, 2, ceil_mode=True) / share.clamp(min=0.25), share > 0


def mean_of_neighbours(film: Tensor) -> Tensor:
    """Mean of the four neighbours of each value; values at the rim are repeated outward."""
    padded = F.pad(film, (1, 1, 1, 1), mode="replicate")
    return (padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]) / 4
