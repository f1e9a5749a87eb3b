"""Masks of the probabilities of segmentation models."""

from __future__ import annotations

from torch import Tensor

SOFTNESS = 0.25
"""Distance from the threshold, relative to it, over which a mask fades on either side."""


def fade(probabilities: Tensor, threshold: float) -> Tensor:
    """Return marked shares in [0, 1], one half where a probability equals the threshold."""
    return ((probabilities.float() / threshold - 1) / (2 * SOFTNESS) + 0.5).clamp(0, 1)
