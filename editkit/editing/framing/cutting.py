"""Cut a subject out of a ground that is not smooth: along edges of the image near its predicted outline."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...images.canvas import Box, resize
from .ground import filled_outline
from .registration import Placement

CORE = 0.2
"""Difference to the ground from which a predicted pixel belongs to the subject: the middle of its blurred edge."""
AROUND = 0.25
"""Width of the ground around a placement that is compared with the subject, as a share of its side."""
SIDE = 256
"""Longest side in pixels of the part of the image that is compared; larger ones are scaled down for it."""
BAND = 1 / 32
"""Distance of the subject's edge from the predicted outline, as a share of the placement's side."""
ROUNDS = 3
"""Rounds of GrabCut."""
SOFT = 0.7
"""Deviation of the blur of the edge, in pixels."""
TAIL = 0.15
"""Share of the subject in a pixel, beside the blurred edge, that counts as nothing."""


def predicted_outline(template: Tensor) -> Tensor:
    """Return 1 in the outline (1, n, n) of a predicted image (3, n, n), a difference to its ground, and 0 outside.

    The prediction is blurred, so its outline is taken and holes in it are filled.
    """
    filled = filled_outline(template.abs().amax(0).numpy(), CORE).astype(np.float32)
    return torch.from_numpy(cv2.GaussianBlur(filled, (0, 0), SOFT))[None]


def cut_out(pixels: Tensor, placement: Placement, outline: Tensor) -> Tensor:
    """Return the share (1, 1, H, W) of the subject in each pixel of an image (1, 3, H, W).

    Its predicted outline (1, n, n) at a placement is moved to the edges of the image nearby by GrabCut (Rother et al.,
    2004), which compares the colours inside and outside.
    """
    square = resize(outline[None], (placement.side, placement.side)).clamp(0, 1)
    subject = placement.put_into(square, pixels)
    box = _around(placement, pixels)
    window = (..., slice(box.top, box.bottom), slice(box.left, box.right))
    scale = min(1.0, SIDE / box.side)
    size = max(1, round(scale * box.width)), max(1, round(scale * box.height))
    colours = resize(pixels[window], size)[0].clamp(0, 1).permute(1, 2, 0).mul(255).round().byte().numpy()
    found = _grab(
        colours, resize(subject[window], size)[0, 0].numpy() > 0.5, max(1, round(BAND * scale * placement.side))
    )
    subject[window] = resize(torch.from_numpy(found)[None, None], (box.width, box.height)).clamp(0, 1)
    return subject


def _around(placement: Placement, pixels: Tensor) -> Box:
    """Return the part of an image (1, 3, H, W) in and around a placement."""
    height, width = pixels.shape[-2:]
    margin = round(AROUND * placement.side)
    end = placement.side + margin
    return Box(
        max(0, placement.left - margin),
        max(0, placement.top - margin),
        min(width, placement.left + end),
        min(height, placement.top + end),
    )


def _grab(colours: NDArray[Any], inside: NDArray[Any], band: int) -> NDArray[Any]:
    """Return the share (H, W) of the subject in an image (H, W, 3) uint8 whose edge is near that of ``inside``."""
    filled, disc = inside.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * band + 1, 2 * band + 1))
    labels = np.full(inside.shape, cv2.GC_BGD, np.uint8)
    labels[cv2.dilate(filled, disc) > 0] = cv2.GC_PR_BGD
    labels[inside] = cv2.GC_PR_FGD
    labels[cv2.erode(filled, disc) > 0] = cv2.GC_FGD
    if np.isin((cv2.GC_BGD, cv2.GC_FGD), labels).all():
        cv2.setRNGSeed(0)  # its clusters of colours begin with random ones
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(np.ascontiguousarray(colours[..., ::-1]), labels, None, *models, ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    return np.asarray(np.clip((cv2.GaussianBlur(found, (0, 0), SOFT) - TAIL) / (1 - 2 * TAIL), 0, 1), np.float32)
