"""Noise schedules: curves of points over the timestep the network was trained on."""

from __future__ import annotations

import dataclasses as dc
import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from .errors import InvalidParameter
from .points import Point


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

    def spread(self, timesteps: np.ndarray) -> np.ndarray:
        """Move evenly spaced timesteps to where this model wants its steps."""


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

    def spread(self, timesteps: np.ndarray) -> np.ndarray:
        return timesteps


@dc.dataclass(frozen=True)
class RectifiedFlow:
    """``alpha = 1 - sigma`` with the timestep as sigma in units of the training steps (arXiv 2209.03003).

    ``shift`` moves the steps towards noise, as large pictures need (Esser et al., arXiv 2403.03206, section 5.3.2).
    """

    train_steps: int = 1000
    shift: float = 1.0

    @property
    def first(self) -> float:
        return 1.0

    @property
    def last(self) -> float:
        return float(self.train_steps)

    def point(self, timestep: float) -> Point:
        sigma = min(max(timestep / self.train_steps, 0.0), 1.0)
        return Point(1.0 - sigma, sigma)

    def timestep(self, point: Point) -> float:
        return self.train_steps * point.sigma / (point.alpha + point.sigma)

    def spread(self, timesteps: np.ndarray) -> np.ndarray:
        sigmas = timesteps / self.train_steps
        return self.train_steps * self.shift * sigmas / (1 + (self.shift - 1) * sigmas)


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
