"""The membrane: values that are known in places, continued smoothly to all others."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_RELAXATIONS = 24
"""Relaxations at every scale."""


def pull_push_fill(values: Tensor, known: Tensor, reach: float = math.inf) -> Tensor:
    """Continue values (1, C, H, W) from where ``known`` (1, 1, H, W) holds to everywhere, as a soap film would.

    What is known stays as it is; elsewhere every value is the mean of its neighbours, the membrane of Poisson image
    editing (Perez et al., 2003): fine structure fades at once, and what is common carries far. With a ``reach`` in
    pixels all of it fades to 0, by 1 / e for each reach.
    """
    if bool(known.all()) or max(values.shape[-2:]) == 1:
        return values * known
    guess = pull_push_fill(*_downsample(values, known), reach / 2)
    film = torch.where(known, values, F.interpolate(guess, values.shape[-2:], mode="bilinear"))
    kept = 1 / (1 + 1 / (2 * reach) ** 2)
    for _ in range(_RELAXATIONS):
        film = torch.where(known, values, mean_of_neighbours(film) * kept)
    return film


def _downsample(values: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Values at half the size, each the mean of what is known under it, and where there is any."""
    share = F.avg_pool2d(known.to(values), 2, ceil_mode=True)
    return F.avg_pool2d(values * known, 2, ceil_mode=True) / share.clamp(min=0.25), share > 0


def mean_of_neighbours(film: Tensor) -> Tensor:
    """The mean of the four neighbours of each value; a value of the rim stands for its neighbour outside."""
    padded = F.pad(film, (1, 1, 1, 1), mode="replicate")
    return (padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]) / 4
