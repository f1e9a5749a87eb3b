"""Tokens of FLUX: squares of latents, and their positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PATCH = 2
"""Latents along a side of one token."""


def pack(latents: Tensor) -> Tensor:
    """Pack latents (B, C, h, w) into tokens (B, h w / 4, 4 C), row by row; a token holds a square of latents."""
    return F.pixel_unshuffle(latents, PATCH).flatten(2).mT


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """Invert :func:`pack` for latents of h x w; further tokens are ignored."""
    rows, columns = height // PATCH, width // PATCH
    squares = tokens[:, : rows * columns].mT
    return F.pixel_shuffle(squares.reshape(*squares.shape[:2], rows, columns), PATCH)


def token_positions(latents: Tensor, number: int = 0) -> Tensor:
    """Positions (h w / 4, 3) of the tokens of latents: number of the image, row and column."""
    height, width = latents.shape[-2:]
    axes = [torch.arange(side // PATCH, dtype=torch.float32, device=latents.device) for side in (height, width)]
    rows, columns = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([torch.full_like(rows, number), rows, columns], -1).flatten(0, 1)
