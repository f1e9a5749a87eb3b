"""Similarity of an edit to its source; where it is high, the residual of the source is added to the result."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

CHANGE_LOW, CHANGE_HIGH = 0.1, 0.5
"""Change of a pixel in [0, 1] up to which the source's detail is kept completely, and from which not at all."""


CHANGE_RADIUS = 3
"""Pixels at the model's scale around a change that count as changed."""


LATENT_CHANGE_LOW, LATENT_CHANGE_HIGH = 0.2, 0.7
"""RMS difference between unit-variance latents below which they count as equal, and above which as different."""


def unchanged_weight(change: Tensor) -> Tensor:
    """Weight (B, 1, h, w) of unchanged pixels: 1 where ``change`` (B, 3, h, w) is small, 0 where it is large.

    The largest change within :data:`CHANGE_RADIUS` pixels counts, and the weight is smoothed.
    """
    largest = change.abs().amax(1, keepdim=True)
    nearby = F.max_pool2d(largest, 2 * CHANGE_RADIUS + 1, stride=1, padding=CHANGE_RADIUS)
    nearby = F.avg_pool2d(nearby, 2 * CHANGE_RADIUS + 1, stride=1, padding=CHANGE_RADIUS, count_include_pad=False)
    return _smoothstep(nearby, CHANGE_LOW, CHANGE_HIGH)


def latent_similarity(difference: Tensor) -> Tensor:
    """Similarity (B, 1, h, w) of clean latents that differ by (B, C, h, w), falling smoothly from 1 to 0."""
    return _smoothstep(difference.square().mean(1, keepdim=True).sqrt(), LATENT_CHANGE_LOW, LATENT_CHANGE_HIGH)


def _smoothstep(values: Tensor, low: float, high: float) -> Tensor:
    """Step from 1 at ``low`` and below to 0 at ``high`` and above, smooth in between."""
    position = ((values - low) / (high - low)).clamp(0, 1)
    return 1 - position * position * (3 - 2 * position)
