"""Tell the subject of an image from its ground."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PLAIN_TOLERANCE = 0.06
"""Difference in [0, 1] up to which a border pixel has the colour of the ground."""
PLAIN_SHARE = 0.5
"""Share of the border that has one colour on a plain ground."""
MATTE_LOW, MATTE_HIGH = 0.03, 0.15
"""Difference to a plain ground at which a pixel begins to show the subject, and from which it shows nothing else."""
CORE = 0.08
"""Difference to the ground from which a predicted pixel belongs to the subject."""


def ground_colour(pixels: Tensor) -> Tensor:
    """Return the median colour (3, 1, 1) of the border of an image (3, H, W)."""
    return _border(pixels).median(dim=1).values[:, None, None]


def is_plain(pixels: Tensor) -> bool:
    """Whether the border of an image (3, H, W) is of one colour: a subject may cross it."""
    near = (_border(pixels) - ground_colour(pixels)[:, 0]).abs().amax(0) < PLAIN_TOLERANCE
    return float(near.float().mean()) >= PLAIN_SHARE


def matte(pixels: Tensor, ground: Tensor) -> Tensor:
    """Return the share (..., 1, H, W) in [0, 1] of the subject in each pixel (..., 3, H, W) on a plain ground."""
    difference = (pixels - ground).abs().amax(-3, keepdim=True)
    return ((difference - MATTE_LOW) / (MATTE_HIGH - MATTE_LOW)).clamp(0, 1)


def is_model_ground(ground: Tensor, model_ground: Tensor) -> bool:
    """Whether a ground is that of the model, both (3, 1, 1)."""
    return bool(((ground - model_ground).abs() < MATTE_LOW).all())


def on_model_ground(pixels: Tensor, subject: Tensor, ground: Tensor, model_ground: Tensor) -> Tensor:
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
    inside = cv2.erode(_filled_outline(difference + MATTE_LOW), window, borderValue=1)
    return torch.from_numpy(np.maximum(share, inside).astype(np.float32))[None, None]


def predicted_matte(template: Tensor) -> Tensor:
    """Return the share (1, n, n) of the subject in each pixel of a predicted image, a difference to its ground.

    The prediction is blurred, so its outline is taken: holes in it are filled, and the edge is widened by a pixel.
    """
    filled = _filled_outline(template.abs().amax(0).numpy())
    widened = cv2.dilate(filled, np.ones((3, 3), np.uint8)).astype(np.float32)
    return torch.from_numpy(cv2.GaussianBlur(widened, (0, 0), 0.7))[None]


def _filled_outline(difference: NDArray[Any]) -> NDArray[np.uint8]:
    """Return 1 in the outlines of all that differs from the ground (H, W), 0 outside."""
    core = (difference > CORE).astype(np.uint8)
    outlines, _ = cv2.findContours(core, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(core, outlines, -1, 1, thickness=cv2.FILLED), dtype=np.uint8)


def _border(pixels: Tensor) -> Tensor:
    """The border pixels (3, N) of an image (3, H, W)."""
    return torch.cat([pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1]], dim=1)
