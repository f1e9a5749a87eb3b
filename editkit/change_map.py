"""The change map: how much of its path each place of a picture may change on, in latents and in pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .canvas import Canvas
from .controls import Control
from .paths import Path
from .points import add_noise

HALF_LEVEL = 0.501 / 255
"""What rounding to 8 bits may have added to a value of a mask, such as one half."""
FULL = 0.5
"""From this value of a mask on, its pixels show all that was drawn; below, they fade to the source."""


def opened(mask: Image.Image, feather: float) -> Tensor:
    """A mask in mode L as (1, 1, H, W) in [0, 1], fading from its edge inward over ``feather`` pixels."""
    levels = np.asarray(mask)
    if feather > 0:
        import cv2

        # Outside the picture counts as changed: an edge of the picture is no edge of the mask.
        inside = cv2.distanceTransform((levels > 0).astype(np.uint8), cv2.DIST_L2, 5)
        levels = levels * np.clip(inside / (feather + 1), 0, 1)
    return torch.from_numpy(np.asarray(levels, dtype=np.float32) / 255)[None, None]


def on_latents(mask: Tensor, canvas: Canvas, size: Sequence[int]) -> Tensor:
    """A mask (1, 1, H, W) on latents of ``size`` (h, w): a latent may change as much as any pixel it stands for."""
    return F.adaptive_max_pool2d(canvas.mask_to_model(mask), tuple(size))


def visible(mask: Tensor) -> Tensor:
    """How much of what was drawn a pixel shows: all of it where half of the path or more was free, none at 0."""
    return (mask / FULL).clamp(0, 1)


class ChangeMap(Control):
    """Hold every latent to the source until its own share of the path begins (Levin & Fried, arXiv 2306.00950).

    ``change`` (1, 1, h, w) in [0, 1]: a latent of value c is free on the last c of the path, as an edit of that
    strength would be; 0 is never free, 1 always. Subclasses say what the source looks like on the way.
    """

    decides = frozenset({"what the mask protects"})

    def __init__(self, change: Tensor, path: Path) -> None:
        self.change = change
        self.path = path
        # A path may go back up: what counts is how far down a point lies, not when it is visited.
        falling = sorted(set(path), key=lambda point: -point.angle)
        self.ahead = {point: 1 - place / (len(falling) - 1) for place, point in enumerate(falling)}

    def source(self, index: int, x: Tensor) -> Tensor:
        """The source (broadcast to ``x``) as noisy as ``path[index]``."""
        raise NotImplementedError

    def after_step(self, index: int, x: Tensor) -> Tensor:
        protected = (self.change <= self.ahead[self.path[index + 1]] + HALF_LEVEL) & (self.change < 1)
        return torch.where(protected, self.source(index + 1, x), x)


class HeldToNoised(ChangeMap):
    """The source is noised anew at every step, always with the same noise."""

    def __init__(self, change: Tensor, path: Path, latents: Tensor, noise: Tensor) -> None:
        super().__init__(change, path)
        self.latents, self.noise_of_source = latents, noise

    def source(self, index: int, x: Tensor) -> Tensor:
        # The end of a path may keep a trace of noise, and what is never free keeps none.
        last = index == len(self.path) - 1
        return self.latents if last else add_noise(self.latents, self.noise_of_source, self.path[index])


class HeldToBranch(ChangeMap):
    """The source is drawn in the same batch, as its first rows, of which the others have ``shares`` (B, S)."""

    def __init__(self, change: Tensor, path: Path, shares: Tensor) -> None:
        super().__init__(change, path)
        self.shares = shares

    def source(self, index: int, x: Tensor) -> Tensor:
        sources = self.shares.shape[1]
        return (self.shares @ x[:sources].flatten(1)).view_as(x)
