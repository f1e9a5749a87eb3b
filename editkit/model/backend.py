"""Interface of model families: encode, decode, embed, and one signature of the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..diffusion.denoiser import Condition
from ..diffusion.paths import TimestepGrid
from ..diffusion.points import Point, PointBatch
from ..diffusion.schedules import Schedule
from ..literals import Prediction


class Backend(Protocol):
    """A loaded model. Latents are (B, C, h, w); pixels (B, 3, H, W) in [0, 1].

    Latents and pixels have the dtype :func:`editkit.latent_dtype` of :attr:`dtype`: float32 also for a network in half
    precision, which converts its own inputs. Conditions are in the dtype of the network.

    A model whose :meth:`denoise` evaluates rows in groups that depend on the other rows declares ``divides_calls``
    with the value True: rows of several edits are then not evaluated in one call where bits must not differ. Its class
    may extend :class:`ModelDisplay`, by which notebooks show it.
    """

    name: str
    """Name given by the user."""
    identity: str
    """Hash of configuration and weights: models of one identity return equal results."""
    device: torch.device
    """Device on which the network is evaluated."""
    dtype: torch.dtype
    """Precision of the network."""
    schedule: Schedule
    """Point at each timestep of the network's training."""
    grid: TimestepGrid
    """Layout of the timesteps of a path, as the model's authors sample it."""
    provides: frozenset[str]
    """Capabilities: ``text`` if the model takes prompts, and those of the protocols in ``capabilities.py``."""
    native_size: int
    """Longest side in pixels of the training images."""
    multiple: int
    """Both sides of an image must be a multiple of this number of pixels."""

    @property
    def prediction(self) -> Prediction:
        """Prediction of the network, which :meth:`denoise` converts to x0."""

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Return (C, h, w) of the latents of an image whose sides are multiples of :attr:`multiple`."""

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the latents of pixels; the mean if the encoder gives a distribution."""

    def decode(self, latents: Tensor) -> Tensor:
        """Return the pixels of latents, clamped to [0, 1]."""

    def embed(self, prompts: Sequence[str]) -> Condition:
        """Return the condition of prompts, one row each; empty for a backend without ``text``."""

    def denoise(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        """Return the x0 estimate (B, C, h, w) of noisy latents ``x`` at ``point``, or at each row's own."""
