"""The gate: leave the faint changes of an edit out, which its prompt did not ask for."""

from __future__ import annotations

import cv2
import torch
from torch import Tensor

from ..canvas import Canvas, resize

SMOOTHING = 1.0
"""Standard deviation in pixels at the model's scale of the Gaussian that smooths a change before it is gated."""
WHOLE = 3.0
"""Multiple of the gate from which a change is taken whole."""
VISIBLE = 1 / 255
"""Change of a pixel in [0, 1] from which it counts as visible: a level of 8 bits."""


def smoothed_change(canvas: Canvas, change: Tensor) -> Tensor:
    """Return the size of a change (B, 3, h, w) at the model's scale in each pixel of the image, (B, 1, H, W).

    It is that of the largest channel, smoothed.
    """
    largest = change.abs().amax(1).float().cpu().numpy()
    rows = [cv2.GaussianBlur(row, (0, 0), SMOOTHING, borderType=cv2.BORDER_REPLICATE) for row in largest]
    return resize(torch.stack([torch.from_numpy(row) for row in rows])[:, None], canvas.size).clamp(min=0)


def gate_weight(size: Tensor, gate: float, kept: Tensor | float, opacity: Tensor) -> Tensor:
    """Return the share (B, 1, H, W) of a change that is taken, by its ``size`` of :func:`smoothed_change`.

    The ``gate`` is a share of the largest size in a row where the ``opacity`` of the edit, which broadcasts to
    (B, 1, H, W), is not 0. Where the source's detail is ``kept``, a number or (1, 1, H, W) in [0, 1], the share that is
    taken is 0 up to the gate, 1 from :data:`WHOLE` times the gate, linear in between; where nothing is kept it is 1.
    """
    largest = torch.where(opacity > 0, size, 0).amax((-2, -1), keepdim=True)
    start = (gate * largest).clamp(min=torch.finfo(size.dtype).tiny)  # of no change everywhere nothing is taken
    taken = ((size - start) / ((WHOLE - 1) * start)).clamp(0, 1)
    return 1 - kept * (1 - taken)
