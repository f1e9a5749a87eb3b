"""What a model family provides: encode, decode, embed, and one network signature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from .guidance import Condition
from .paths import Grid
from .points import Point
from .schedules import Schedule


class Backend(Protocol):
    """A loaded model. Latents are (B, C, h, w); pixels (B, 3, H, W) in [0, 1]."""

    name: str
    """What the user called it by."""
    identity: str
    """Hash of what it is made of: two models of one identity answer alike."""
    device: torch.device
    dtype: torch.dtype
    schedule: Schedule
    grid: Grid
    provides: frozenset[str]
    """Capabilities: ``text`` where prompts are understood."""
    native_size: int
    """Longest side in pixels of the pictures it was trained on."""
    multiple: int
    """Pixels that both sides of a picture must be a multiple of."""

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """(C, h, w) of a picture whose sides are multiples of :attr:`multiple`."""

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels to latents, without drawing noise: the mean where the encoder gives a distribution."""

    def decode(self, latents: Tensor) -> Tensor:
        """Latents to pixels, clamped to [0, 1]."""

    def embed(self, prompts: Sequence[str]) -> Condition:
        """Prompts to the condition of as many rows; a backend without ``text`` gives an empty condition."""

    def denoise(self, x: Tensor, point: Point, condition: Condition) -> Tensor:
        """The network's clean estimate x0 of noisy latents ``x`` at ``point``, of the shape of ``x``."""
