"""Masks as tensors, at image and latent size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .canvas import Canvas

FULL = 0.5
"""From this value of a mask on, its pixels show all that was drawn; below, they fade to the source."""


def mask_tensor(mask: Image.Image, feather: float) -> Tensor:
    """A mask in mode L as (1, 1, H, W) in [0, 1], fading from its edge inward over ``feather`` pixels."""
    levels = np.asarray(mask)
    if feather > 0:
        import cv2

        # Outside the picture counts as changed: an edge of the picture is no edge of the mask.
        inside = cv2.distanceTransform((levels > 0).astype(np.uint8), cv2.DIST_L2, 5)
        levels = levels * np.clip(inside / (feather + 1), 0, 1)
    return torch.from_numpy(np.asarray(levels, dtype=np.float32) / 255)[None, None]


def mask_to_latents(mask: Tensor, canvas: Canvas, size: Sequence[int]) -> Tensor:
    """A mask (1, 1, H, W) on latents of ``size`` (h, w): a latent may change as much as any pixel it stands for."""
    return F.adaptive_max_pool2d(canvas.mask_to_model(mask), tuple(size))


def mask_opacity(mask: Tensor) -> Tensor:
    """How much of what was drawn a pixel shows: all of it where half of the path or more was free, none at 0."""
    return (mask / FULL).clamp(0, 1)
