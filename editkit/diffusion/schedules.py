"""Noise schedules: curves of points over the timestep the network was trained on."""

from __future__ import annotations

import dataclasses as dc
import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import InvalidParameter
from .points import Point, PointBatch


class Schedule(Protocol):
    """A curve from timestep to point, noisier as the timestep grows."""

    @property
    def train_steps(self) -> int:
        """How many timesteps the network was trained on."""

    @property
    def first(self) -> float:
        """Timestep of the least noise."""

    @property
    def last(self) -> float:
        """Timestep of the most noise."""

    def point(self, timestep: float) -> Point:
        """The point at a timestep, which may lie between two trained ones."""

    def timestep(self, point: Point) -> float:
        """The inverse of :meth:`point`."""

    def for_shape(self, shape: Sequence[int]) -> Schedule:
        """The schedule as it is for latents of ``shape`` (C, h, w): the same curve, with steps where they want them."""

    def shift_timesteps(self, timesteps: np.ndarray) -> np.ndarray:
        """Move evenly spaced timesteps, falling, to where this model wants its steps."""


def timestep_of(schedule: Schedule, point: Point | PointBatch, like: Tensor) -> Tensor:
    """What a network is told of ``point``: a timestep, or one (B,) for each of several points, where ``like`` is."""
    return torch.tensor(point.map(schedule.timestep), device=like.device)


@dc.dataclass(frozen=True)
class VariancePreserving:
    """``alpha**2 + sigma**2 == 1``, from a table of cumulative alphas (T,), falling; Ho et al., arXiv 2006.11239."""

    alphas_cumprod: tuple[float, ...]

    @classmethod
    def from_betas(cls, betas: Sequence[float] | np.ndarray, *, zero_terminal_snr: bool = False) -> VariancePreserving:
        """Build from betas (T,) in (0, 1]; raises InvalidParameter for others.

        With ``zero_terminal_snr`` the table is stretched so that the last timestep is pure noise (Lin et al.,
        arXiv 2305.08891, algorithm 1).
        """
        table = np.asarray(betas, dtype=np.float64)
        if table.ndim != 1 or len(table) < 2 or not np.all((table > 0) & (table <= 1)):
            raise InvalidParameter("betas must be a list of at least two numbers above 0 and at most 1")
        alphas = np.cumprod(1 - table)
        if zero_terminal_snr:
            roots = np.sqrt(alphas)
            alphas = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
        return cls(tuple(alphas.tolist()))

    @property
    def train_steps(self) -> int:
        return len(self.alphas_cumprod)

    @property
    def first(self) -> float:
        return 0.0

    @property
    def last(self) -> float:
        return self.train_steps - 1.0

    def point(self, timestep: float) -> Point:
        if float(timestep).is_integer() and self.first <= timestep <= self.last:
            alpha2 = self.alphas_cumprod[int(timestep)]
            return Point(math.sqrt(alpha2), math.sqrt(1 - alpha2))
        angle = float(np.interp(timestep, np.arange(self.train_steps), self.angles()))
        return Point(math.cos(angle), math.sin(angle))

    def timestep(self, point: Point) -> float:
        return float(np.interp(point.angle, self.angles(), np.arange(self.train_steps)))

    def angles(self) -> np.ndarray:
        alphas = np.asarray(self.alphas_cumprod)
        angles: np.ndarray = np.arctan2(np.sqrt(1 - alphas), np.sqrt(alphas))
        return angles

    def for_shape(self, shape: Sequence[int]) -> VariancePreserving:
        return self

    def shift_timesteps(self, timesteps: np.ndarray) -> np.ndarray:
        rounded: np.ndarray = np.round(timesteps)  # its network knows whole timesteps alone
        return rounded


@dc.dataclass(frozen=True)
class ResolutionShift:
    """A shift that grows with a picture, by how many tokens a transformer sees of its latents.

    A straight line through two pairs of tokens and value gives mu; the shift is ``exp(mu)``, or mu itself where not
    ``exponential``. As with the models of Black Forest Labs, which carry it in their scheduler's configuration.
    """

    tokens: tuple[int, int] = (256, 4096)
    values: tuple[float, float] = (0.5, 1.15)
    patch: int = 2
    """Latents along a side of a token."""
    exponential: bool = True

    def __call__(self, shape: Sequence[int]) -> float:
        """The shift for latents of ``shape`` (C, h, w)."""
        _, height, width = shape
        (few, many), (low, high) = self.tokens, self.values
        seen = (height // self.patch) * (width // self.patch)
        mu = low + (high - low) * (seen - few) / (many - few)
        return math.exp(mu) if self.exponential else mu


@dc.dataclass(frozen=True)
class RectifiedFlow:
    """``alpha = 1 - sigma`` with the timestep as sigma in units of the training steps (arXiv 2209.03003).

    ``shift`` moves the steps towards noise, as large pictures need (Esser et al., arXiv 2403.03206, section 5.3.2).
    """

    train_steps: int = 1000
    shift: float = 1.0
    first: float = 1.0
    """Timestep of the least noise."""
    terminal: float | None = None
    """Sigma that the cleanest step of a path begins at: all are stretched away from noise to meet it."""
    shift_of: ResolutionShift | None = None
    """The shift for latents of a size, where it is not the same for all."""

    @property
    def last(self) -> float:
        return float(self.train_steps)

    def point(self, timestep: float) -> Point:
        sigma = min(max(timestep / self.train_steps, 0.0), 1.0)
        return Point(1.0 - sigma, sigma)

    def timestep(self, point: Point) -> float:
        return self.train_steps * point.sigma / (point.alpha + point.sigma)

    def for_shape(self, shape: Sequence[int]) -> RectifiedFlow:
        return self if self.shift_of is None else dc.replace(self, shift=self.shift_of(shape), shift_of=None)

    def shift_timesteps(self, timesteps: np.ndarray) -> np.ndarray:
        sigmas = timesteps / self.train_steps
        sigmas = self.shift * sigmas / (1 + (self.shift - 1) * sigmas)
        if self.terminal is not None and sigmas[-1] < 1:
            sigmas = 1 - (1 - sigmas) * (1 - self.terminal) / (1 - sigmas[-1])
        return self.train_steps * sigmas


def linear(steps: int = 1000, start: float = 1e-4, end: float = 0.02) -> np.ndarray:
    """Betas of DDPM (T,): evenly spaced."""
    return np.linspace(start, end, steps)


def scaled_linear(steps: int = 1000, start: float = 0.00085, end: float = 0.012) -> np.ndarray:
    """Betas of latent diffusion (T,): their roots are evenly spaced (arXiv 2112.10752)."""
    return np.linspace(math.sqrt(start), math.sqrt(end), steps) ** 2


def cosine(steps: int = 1000, offset: float = 0.008, largest: float = 0.999) -> np.ndarray:
    """Betas (T,) of the squared-cosine schedule (Nichol & Dhariwal, arXiv 2102.09672)."""
    level = np.cos((np.arange(steps + 1) / steps + offset) / (1 + offset) * math.pi / 2) ** 2
    betas: np.ndarray = np.minimum(1 - level[1:] / level[:-1], largest)
    return betas
