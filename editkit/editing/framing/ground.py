"""Tell the subject of an image from its ground."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ...images.blending.pull_push_fill import pull_push_fill

PLAIN_TOLERANCE = 0.06
"""Difference in [0, 1] up to which a border pixel has the colour of the ground."""
PLAIN_SHARE = 0.5
"""Share of the border that has one colour on a plain ground."""
BORDER = 256
"""Pixels of a side of the border that are compared; noise of larger images is averaged."""
SMOOTH_SHARE = 0.7
"""Share of the border that lies on a quadratic surface on a smooth ground."""
FIT_ROUNDS = 12
"""Rounds of fitting that surface."""
MATTE_LOW, MATTE_HIGH = 0.03, 0.15
"""Difference to a smooth ground at which a pixel begins to show the subject, and from which it shows nothing else."""
CORE = 0.08
"""Difference to the ground from which a pixel of a decoded image belongs to the subject."""


class Standing(NamedTuple):
    """An image whose subject stands on a smooth ground, brought onto the ground of the model."""

    pixels: Tensor
    """(1, 3, H, W), on the ground of the model."""
    subject: Tensor
    """(1, 1, H, W) in [0, 1], share of the subject in each pixel."""
    ground: Tensor
    """(3, H, W), the ground of the image."""
    on_model_ground: bool
    """Whether the image has the ground of the model."""

    @classmethod
    def of(cls, pixels: Tensor, model_ground: Tensor) -> Standing | None:
        """Return an image (1, 3, H, W) on ``model_ground`` (3, 1, 1); None if its ground is not smooth."""
        ground = smooth_ground(pixels[0])
        if ground is None:
            return None
        subject = matte(pixels, ground)
        on_model_ground = bool(((ground - model_ground).abs() < MATTE_LOW).all())
        return cls(replace_ground(pixels, subject, ground, model_ground), subject, ground, on_model_ground)

    @classmethod
    def cut_out(cls, pixels: Tensor, subject: Tensor, model_ground: Tensor) -> Standing:
        """Return an image (1, 3, H, W) whose subject, shares (1, 1, H, W), was cut out: its ground is continued."""
        ground = pull_push_fill(pixels, subject < MATTE_LOW)[0]
        on_ground = replace_ground(pixels, subject, ground, model_ground).clamp(0, 1)
        return cls(on_ground, subject, ground, on_model_ground=False)


def smooth_ground(pixels: Tensor) -> Tensor | None:
    """Return the ground (3, H, W) behind the subject of an image (3, H, W), or None if it is not smooth.

    It is the median colour of the border if half of the border has it, otherwise a quadratic surface through most of
    the border: a gradient, or a light from one side. A subject may cross the border.
    """
    height, width = pixels.shape[-2:]
    border = _border(pixels)
    colour = _median_colour(border)
    if _share_near(border, colour[..., 0], PLAIN_TOLERANCE) >= PLAIN_SHARE:
        return colour.expand_as(pixels)
    rows, columns = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)[None]
    basis = torch.cat(_quadratic(*(_border(axis.expand(1, height, width)) for axis in (rows, columns))))
    surface = _robust_fit(basis, border)
    if _share_near(border, surface @ basis, MATTE_LOW) < SMOOTH_SHARE:
        return None
    ground = torch.zeros_like(pixels)
    for coefficients, term in zip(surface.T[..., None, None], _quadratic(rows, columns), strict=True):
        ground += coefficients * term
    return ground.clamp(0, 1)


def _quadratic(row: Tensor, column: Tensor) -> list[Tensor]:
    """Return the terms of a quadratic surface at some places."""
    return [torch.ones_like(row), row, column, row**2, column**2, row * column]


def border_colour(pixels: Tensor) -> Tensor:
    """Return the median colour (3, 1, 1) of the border of an image (3, H, W)."""
    return _median_colour(_border(pixels))


def _median_colour(border: Tensor) -> Tensor:
    return border.median(dim=1).values[:, None, None]


def _share_near(border: Tensor, ground: Tensor, tolerance: float) -> float:
    """Return the share of border pixels (3, N) that have the colour of the ground."""
    return float(((border - ground).abs().amax(0) < tolerance).float().mean())


def _robust_fit(basis: Tensor, values: Tensor) -> Tensor:
    """Return the coefficients (3, B) of a basis (B, N) with the smallest absolute error to values (3, N).

    By least squares whose weights are the inverse of the errors before, so that a subject at the border counts little.
    """
    weights = torch.ones(values.shape[-1])
    for _ in range(FIT_ROUNDS):
        scale = weights.sqrt()
        fitted: Tensor = torch.linalg.lstsq((basis * scale).T.double(), (values * scale).T.double()).solution.T.float()
        weights = 1 / (values - fitted @ basis).abs().amax(0).clamp(min=PLAIN_TOLERANCE / 10)
    return fitted


def matte(pixels: Tensor, ground: Tensor) -> Tensor:
    """Return the share (..., 1, H, W) in [0, 1] of the subject in each pixel (..., 3, H, W) on a smooth ground."""
    difference = (pixels - ground).abs().amax(-3, keepdim=True)
    return ((difference - MATTE_LOW) / (MATTE_HIGH - MATTE_LOW)).clamp(0, 1)


def replace_ground(pixels: Tensor, subject: Tensor, ground: Tensor, model_ground: Tensor) -> Tensor:
    """Return pixels (..., 3, H, W) whose ground is the model's; ``subject`` is the subject's share in each."""
    return pixels + (1 - subject) * (model_ground - ground)


def coverage(pixels: Tensor, ground: Tensor, edge: int) -> Tensor:
    """Return the share (1, 1, H, W) of the subject in each pixel (1, 3, H, W) with edges up to ``edge`` pixels wide.

    On an edge a pixel mixes the ground with the subject beside it, so that its difference to the ground is a share of
    the largest one nearby; within the outline of the subject the share is 1, whatever the colour.
    """
    difference = ((pixels - ground).abs().amax((0, 1)) - MATTE_LOW).clamp(min=0).numpy()
    window = np.ones((2 * edge + 1, 2 * edge + 1), np.uint8)
    share = difference / np.maximum(cv2.dilate(difference, window), MATTE_HIGH)
    inside = cv2.erode(filled_outline(difference + MATTE_LOW, CORE), window, borderValue=1)
    return torch.from_numpy(np.maximum(share, inside).astype(np.float32))[None, None]


def filled_outline(difference: NDArray[Any], least: float) -> NDArray[np.uint8]:
    """Return 1 in the outlines of all that differs by more than ``least`` from the ground (H, W), 0 outside."""
    core = (difference > least).astype(np.uint8)
    outlines, _ = cv2.findContours(core, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(core, outlines, -1, 1, thickness=cv2.FILLED), dtype=np.uint8)


def _border(pixels: Tensor) -> Tensor:
    """The border (C, N) of an image (C, H, W), of means where a side has more than :data:`BORDER` pixels."""
    sides = (pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1])
    return torch.cat([F.adaptive_avg_pool1d(side, BORDER) if side.shape[1] > BORDER else side for side in sides], 1)
