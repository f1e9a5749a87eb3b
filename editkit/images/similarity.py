"""Where an edit still shows its source: there what the source was missed by is carried over, and nowhere else."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

CHANGE_LOW, CHANGE_HIGH = 0.1, 0.5
"""Changes of pixels, in units of the full range, up to which the source's detail is kept and from which none of it."""


REACH = 3
"""Pixels at the model's scale that a changed contour takes along on either side."""


ALIKE, DEPARTED = 0.2, 0.7
"""Differences of latents, whose own deviation is near 1, up to which they are alike and from which they are others."""


def unchanged_weight(change: Tensor) -> Tensor:
    """Where an edit left a picture alone: 1 where ``change`` (B, 3, h, w) is nothing, falling to 0 where it is large.

    Returns (B, 1, h, w). The largest change within :data:`REACH` pixels counts, and the map is smooth.
    """
    largest = change.abs().amax(1, keepdim=True)
    near = F.max_pool2d(largest, 2 * REACH + 1, stride=1, padding=REACH)
    near = F.avg_pool2d(near, 2 * REACH + 1, stride=1, padding=REACH, count_include_pad=False)
    return smoothstep(near, CHANGE_LOW, CHANGE_HIGH)


def latent_similarity(difference: Tensor) -> Tensor:
    """How far clean latents that differ by (B, C, h, w) show the same: (B, 1, h, w), falling smoothly from 1 to 0."""
    return smoothstep(difference.square().mean(1, keepdim=True).sqrt(), ALIKE, DEPARTED)


def smoothstep(values: Tensor, low: float, high: float) -> Tensor:
    """1 up to ``low`` and 0 from ``high`` on, smooth in between."""
    position = ((values - low) / (high - low)).clamp(0, 1)
    return 1 - position * position * (3 - 2 * position)
