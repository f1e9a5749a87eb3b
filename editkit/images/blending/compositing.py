"""Lay an edit on its source: difference, colour correction, mask, alpha."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..canvas import Canvas, resize
from ..stored.image import StoredImage, mix_stored
from .joint_upsampling import upsample_jointly
from .similarity import unchanged_weight

BLUR_RADIUS = 6
"""Radius in pixels at the model's scale over which colours around a mask are averaged."""


_ROUNDING = 4e-6
"""Change of a pixel up to which it counts as none; a level of 16 bits is 4 times as large."""

MEAN_WEIGHT = 1e-3
"""Weight of the mean over all pixels outside a mask, relative to pixels near the mask."""


def apply_difference(
    canvas: Canvas,
    source: Tensor,
    edited: Tensor,
    reconstructed: Tensor,
    mask: Tensor | None = None,
    kept: Tensor | float = 1.0,
) -> Tensor:
    """Add an edit to the source as a difference where the source is kept and little changed, else replace the source.

    ``source`` is (B, 3, H, W) and ``mask`` (1, 1, H, W), both at the image's size; ``edited`` and ``reconstructed`` are
    (B, 3, h, w) on the padded canvas. ``kept``, a number or (1, 1, H, W) in [0, 1], is the share of the source's detail
    that the edit keeps. With ``w = kept * unchanged_weight(edited - reconstructed)`` the result is

        w * (source + edited - reconstructed) + (1 - w) * (edited + colour_correction)

    In an image larger than the model, the share ``kept`` of the second term has the edges of the source where the edit
    has them too, see :func:`upsample_jointly`.

    Where w is 1 and nothing changed, it is exactly the source, without the loss of the autoencoder and of resampling;
    where w is 0, nothing of the source is in it. Returns (B, 3, H, W).
    """
    change = canvas.crop(edited - reconstructed)
    weight = kept * resize(unchanged_weight(change), canvas.size).clamp(0, 1)
    replacement = canvas.to_image(edited)
    if canvas.size[0] > canvas.work[0] and bool((torch.as_tensor(kept, device="cpu") > 0).any()):
        with_edges = upsample_jointly(canvas, source, canvas.crop(reconstructed), canvas.crop(edited))
        replacement = replacement + kept * (with_edges - replacement)
    if mask is not None:
        replacement = replacement + resize(colour_correction(canvas, source, edited, mask), canvas.size)
    mixed = source + weight * resize(change, canvas.size) + (1 - weight) * (replacement - source)
    # Rounding of the sum depends on the source, even if nothing of it is kept.
    return torch.where(torch.as_tensor(kept, device=mixed.device) == 0, replacement, mixed)


def colour_correction(canvas: Canvas, source: Tensor, edited: Tensor, mask: Tensor) -> Tensor:
    """Colour difference between source and edit outside a mask, extrapolated smoothly into the mask.

    Arguments as for :func:`apply_difference`; returns (B, 3, h, w) at the model's scale. Outside the mask both show
    the same content, so a difference there is an error of the autoencoder.
    """
    # Resampling must not mix masked pixels of the source into those outside.
    is_outside = (F.adaptive_max_pool2d(mask, canvas.work[::-1]) == 0) & (resize(mask, canvas.work).abs() < 1e-6)
    outside = is_outside.to(source)
    if not bool(outside.any()):
        return torch.zeros_like(canvas.crop(edited))
    error = (resize(source, canvas.work) - canvas.crop(edited)) * outside
    coverage = _box_blur(outside)
    mean = error.sum((2, 3), keepdim=True) / outside.sum((2, 3), keepdim=True)
    # Normalised blur. Deep inside a mask ``coverage`` is 0, and the mean over the outside takes over.
    return (_box_blur(error) + MEAN_WEIGHT * mean) / (coverage + MEAN_WEIGHT)


def _box_blur(values: Tensor) -> Tensor:
    """Blur (B, C, h, w) over :data:`BLUR_RADIUS` pixels on either side, three times, which is nearly a Gaussian."""
    for _ in range(3):
        values = F.avg_pool2d(values, 2 * BLUR_RADIUS + 1, stride=1, padding=BLUR_RADIUS)
    return values


def mix_sources(pixels: Tensor, shares: Tensor) -> Tensor:
    """Mix the pixels (S, 3, H, W) of sources into rows (B, 3, H, W) with weights ``shares`` (B, S)."""
    return torch.einsum("bs,schw->bchw", shares, pixels)


def to_stored_image(
    result: Tensor,
    share: Tensor,
    before: Tensor,
    sources: Sequence[Image.Image],
    painted: Tensor | None = None,
    reach: int = 3,
    replaced: Tensor | None = None,
) -> Image.Image:
    """Convert a result (3, H, W) on white to an image with the alpha of its sources, mixed with weights ``share`` (S,).

    ``before`` (3, H, W) are the mixed sources on white. Pixels that equal them keep their stored levels, which includes
    colour under transparency. ``painted`` (1, H, W) is the share of transparent parts that the edit paints over, and
    ``reach`` the width of contours in pixels. Pixels that are ``replaced`` (1, H, W) have the colours of the result
    alone, and are opaque. Returns the view of a StoredImage with the depth and profile of the sources.
    """
    stored = [StoredImage.of(source) for source in sources]
    change = (result - before).permute(1, 2, 0).numpy()
    change[np.abs(change) < _ROUNDING] = 0
    cover = None if painted is None else painted.permute(1, 2, 0).numpy()
    image = mix_stored(stored, share.tolist(), change, painted=cover, reach=reach)
    if replaced is not None and bool(replaced.any()):
        # The sum of a level and a change is rounded by the level, of which nothing may be left.
        opaque = None if image.alpha is None else np.full(image.levels.shape[:2], image.maximum, image.levels.dtype)
        colours = image.with_colours(result.permute(1, 2, 0).numpy(), opaque).levels
        image = dc.replace(image, levels=np.where(replaced[0].numpy()[..., None], colours, image.levels))
    return image.view()
