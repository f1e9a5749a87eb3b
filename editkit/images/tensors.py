"""Convert images to tensors and back."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from .conversion import pixels


def to_tensor(image: Image.Image) -> Tensor:
    """Convert an image of mode RGB or RGBA to (1, 3, H, W) on white, float32 in [0, 1], beyond it outside sRGB."""
    return torch.from_numpy(pixels(image)).permute(2, 0, 1)[None]


def to_image(pixels: Tensor) -> Image.Image:
    """Convert pixels (3, H, W) in [0, 1] to an RGB image; values outside are clipped."""
    return Image.fromarray(pixels.clamp(0, 1).mul_(255).round_().byte().permute(1, 2, 0).cpu().numpy())
