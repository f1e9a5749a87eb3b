"""The change map: how much of its path each place of a picture may change on, in latents and in pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from ..diffusion.paths import SamplingPath
from ..diffusion.points import add_noise
from .controls import Control

HALF_LEVEL = 0.501 / 255
"""What rounding to 8 bits may have added to a value of a mask, such as one half."""


class ChangeMap(Control):
    """Hold every latent to the source until its own share of the path begins (Levin & Fried, arXiv 2306.00950).

    ``change`` (1, 1, h, w) in [0, 1]: a latent of value c is free on the last c of the path, as an edit of that
    strength would be; 0 is never free, 1 always. Subclasses say what the source looks like on the way.
    """

    exclusive_over = frozenset({"what the mask protects"})

    def __init__(self, change: Tensor, path: SamplingPath) -> None:
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


class NoisedSourceChangeMap(ChangeMap):
    """The source is noised anew at every step, always with the same noise."""

    def __init__(self, change: Tensor, path: SamplingPath, latents: Tensor, noise: Tensor) -> None:
        super().__init__(change, path)
        self.latents, self.noise_of_source = latents, noise

    def source(self, index: int, x: Tensor) -> Tensor:
        # The end of a path may keep a trace of noise, and what is never free keeps none.
        last = index == len(self.path) - 1
        return self.latents if last else add_noise(self.latents, self.noise_of_source, self.path[index])


class SourceBranchChangeMap(ChangeMap):
    """The source is drawn in the same batch, as its first rows, of which the others have ``shares`` (B, S)."""

    def __init__(self, change: Tensor, path: SamplingPath, shares: Tensor) -> None:
        super().__init__(change, path)
        self.shares = shares

    def source(self, index: int, x: Tensor) -> Tensor:
        sources = self.shares.shape[1]
        return (self.shares @ x[:sources].flatten(1)).view_as(x)
