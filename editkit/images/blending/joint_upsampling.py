"""Bring an edit up to the image's size with the edges of the source (joint upsampling by a guided filter)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..canvas import Canvas, resize

RADIUS = 2
"""Radius of the filter's windows in pixels at the model's scale."""
REGULARISATION = 1e-3
"""Variance of the guide, in squared units of [0, 1], below which it counts as flat."""


def upsample_jointly(canvas: Canvas, source: Tensor, guide: Tensor, values: Tensor) -> Tensor:
    """Return ``values`` (B, 3, h, w) at the image's size (B, 3, H, W), with the edges of the source where they match.

    In each window ``values`` are fitted by an affine map of the colours of ``guide`` (B, 3, h, w), which is the source
    at the model's scale; the map is then applied to ``source`` (B, 3, H, W), as in the fast guided filter (He and Sun,
    arXiv 1505.00996). Unlike the paper, the residual of the fit is resampled and added, so that edges that the source
    does not have remain as they are at the model's scale.
    """
    slope, offset = _fit(guide, values)
    residual = values - _apply(slope, offset, guide)
    size = canvas.size
    return _apply(resize(slope, size), resize(offset, size), source) + resize(residual, size)


def _fit(guide: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Slopes (B, 9, h, w), those of each value before those of the next, and offsets (B, 3, h, w), averaged."""
    mean, values_mean = _average(guide), _average(values)
    variance = _covariance(guide, guide, mean, mean)
    covariance = _covariance(values, guide, values_mean, mean)
    identity = torch.eye(3, dtype=guide.dtype, device=guide.device)
    # (B, h, w, value, guide): slope @ (variance + regularisation) = covariance
    slope = torch.linalg.solve(variance + REGULARISATION * identity, covariance, left=False)
    slope = slope.permute(0, 3, 4, 1, 2).flatten(1, 2)
    offset = values_mean - _apply(slope, torch.zeros_like(values_mean), mean)
    return _average(slope), _average(offset)


def _apply(slope: Tensor, offset: Tensor, colours: Tensor) -> Tensor:
    rows, _, height, width = slope.shape
    return (slope.reshape(rows, 3, 3, height, width) * colours[:, None]).sum(2) + offset


def _covariance(one: Tensor, other: Tensor, mean: Tensor, other_mean: Tensor) -> Tensor:
    """Covariance matrices (B, h, w, 3, 3) of two images in each window."""
    rows, _, height, width = one.shape
    product = (one[:, :, None] * other[:, None]).flatten(1, 2)
    covariance = _average(product) - (mean[:, :, None] * other_mean[:, None]).flatten(1, 2)
    return covariance.reshape(rows, 3, 3, height, width).permute(0, 3, 4, 1, 2)


def _average(values: Tensor) -> Tensor:
    """Mean over windows, which are cut at the border of the image."""
    return F.avg_pool2d(values, 2 * RADIUS + 1, stride=1, padding=RADIUS, count_include_pad=False)
