"""Lay an edit on its source: difference, colour correction, mask, alpha."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .canvas import Canvas, resize
from .similarity import unchanged_weight

NEAR = 6
"""Pixels at the model's scale over which colours around a mask are averaged."""


FAR = 1e-3
"""Weight of the mean of everything outside a mask against what is near."""


def apply_difference(
    canvas: Canvas, source: Tensor, edited: Tensor, reconstructed: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Take an edit as a difference and lay it on the source's own pixels where little changed.

    ``source`` is (B, 3, H, W) at the picture's size, ``mask`` (1, 1, H, W) likewise, the others (B, 3, h, w) on the
    padded canvas. What the autoencoder and the model's size lose is the source less its reconstruction. Where
    ``edited`` equals ``reconstructed`` the answer is the source exactly; where everything changed it is ``edited``,
    in the colours that the source has around the mask.
    """
    change = canvas.cropped(edited - reconstructed)
    kept = resize(unchanged_weight(change), canvas.size).clamp(0, 1)
    drawn = canvas.to_image(edited)
    if mask is not None:
        drawn = drawn + resize(colour_correction(canvas, source, edited, mask), canvas.size)
    return source + kept * resize(change, canvas.size) + (1 - kept) * (drawn - source)


def colour_correction(canvas: Canvas, source: Tensor, edited: Tensor, mask: Tensor) -> Tensor:
    """What the source's colours differ by from the drawn ones outside a mask, carried on smoothly inside it.

    Arguments as for :func:`lay_on`; returns (B, 3, h, w) at the model's scale. Outside the mask both show the same, so
    that what differs there is the autoencoder's doing.
    """
    outside = (F.adaptive_max_pool2d(mask, canvas.work[::-1]) == 0).to(source)
    if not bool(outside.any()):
        return torch.zeros_like(canvas.cropped(edited))
    wrong = (resize(source, canvas.work) - canvas.cropped(edited)) * outside
    near = box_blur(outside)
    everywhere = wrong.sum((2, 3), keepdim=True) / outside.sum((2, 3), keepdim=True)
    # Far inside a mask nothing is near: the mean of all outside is what is left to go by.
    return (box_blur(wrong) + FAR * everywhere) / (near + FAR)


def box_blur(values: Tensor) -> Tensor:
    """Blur (B, C, h, w) over :data:`NEAR` pixels on either side, three times: nearly a Gaussian."""
    for _ in range(3):
        values = F.avg_pool2d(values, 2 * NEAR + 1, stride=1, padding=NEAR)
    return values


def mix_sources(pixels: Tensor, shares: Tensor) -> Tensor:
    """Mix the pixels (S, 3, H, W) of sources into rows (B, 3, H, W)."""
    return torch.einsum("bs,schw->bchw", shares, pixels)


def to_stored_image(laid: Tensor, share: Tensor, seen: Tensor, sources: Sequence[Image.Image]) -> Image.Image:
    """Turn laid pixels (3, H, W) into a picture with its sources' alpha; what equals ``seen`` stays as it is stored."""
    stored = sum(
        weight * np.asarray(source, dtype=np.float32) for weight, source in zip(share.tolist(), sources, strict=True)
    )
    assert isinstance(stored, np.ndarray)
    change = (laid - seen).permute(1, 2, 0).numpy() * 255
    if stored.shape[-1] == 4:
        # On white a pixel shows only alpha of its colour, so its colour changes by as much more.
        change = change / np.maximum(stored[..., 3:], 1) * 255
    stored[..., :3] += change
    return Image.fromarray(np.clip(np.rint(stored), 0, 255).astype(np.uint8))
