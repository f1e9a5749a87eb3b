"""Masks as tensors, at image and latent size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..canvas import Canvas
from .feather import fade_edges

FULL_OPACITY = 0.5
"""Mask value from which a pixel shows the edit alone; smaller values blend it with the source."""


def mask_tensor(mask: Image.Image, feather: float) -> Tensor:
    """Mask tensor (1, 1, H, W) in [0, 1] of a mask in mode L, fading from its edge inward over ``feather`` pixels."""
    levels = np.asarray(mask)
    if feather > 0:
        levels = fade_edges(levels, feather)
    return torch.from_numpy(np.asarray(levels, dtype=np.float32) / 255)[None, None]


def mask_image(mask: Tensor) -> Image.Image:
    """Return a mask tensor (1, 1, H, W) as an image in mode L, in which no marked pixel becomes 0."""
    levels = (255 * mask[0, 0]).round().clamp(0, 255).numpy().astype(np.uint8)
    return Image.fromarray(np.maximum(levels, (mask[0, 0].numpy() > 0).astype(np.uint8)))


def marked_share(mask: Image.Image) -> float:
    """Return the share of the pixels of a mask in mode L that are marked, whole or in part, to six digits."""
    return round(float((np.asarray(mask) > 0).mean()), 6)


def mask_to_latents(mask: Tensor, canvas: Canvas, size: Sequence[int]) -> Tensor:
    """Scale a mask (1, 1, H, W) to latents of ``size`` (h, w); each latent is the maximum of the pixels it covers."""
    return F.adaptive_max_pool2d(canvas.mask_to_model(mask), tuple(size))


def mask_opacity(mask: Tensor) -> Tensor:
    """Opacity of the edit over the source in each pixel: 1 from a mask value of :data:`FULL_OPACITY` on, 0 at 0."""
    return (mask / FULL_OPACITY).clamp(0, 1)
