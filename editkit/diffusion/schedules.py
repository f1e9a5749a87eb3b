"""Noise schedules: the point at each timestep of a network's training."""

from __future__ import annotations

import dataclasses as dc
import functools
import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import InvalidParameter
from .points import Point, PointBatch
from .transfer import numbers_on


class Schedule(Protocol):
    """Curve from timestep to point; noise grows with the timestep."""

    @property
    def train_steps(self) -> int:
        """Number of training timesteps."""

    @property
    def first(self) -> float:
        """Timestep of the lowest noise."""

    @property
    def last(self) -> float:
        """Timestep of the highest noise."""

    def point(self, timestep: float) -> Point:
        """Return the point at a timestep, which may lie between two training timesteps."""

    def timestep(self, point: Point) -> float:
        """Return the timestep of a point: the inverse of :meth:`point`."""

    def for_shape(self, shape: Sequence[int]) -> Schedule:
        """Return the schedule for latents of ``shape`` (C, h, w): the same curve with other placement of the steps."""

    def shift_timesteps(self, timesteps: np.ndarray) -> np.ndarray:
        """Map evenly spaced, falling timesteps to the timesteps the model samples at."""


def timestep_of(schedule: Schedule, point: Point | PointBatch, like: Tensor) -> Tensor:
    """Return the timestep of a point as a tensor () on the device of ``like``, or (B,) for a :class:`PointBatch`."""
    return numbers_on(point.map(schedule.timestep), like.device, torch.float32)


@dc.dataclass(frozen=True)
class VariancePreserving:
    """Schedule with ``alpha**2 + sigma**2 == 1``, from falling cumulative alphas (T,) (Ho et al., arXiv 2006.11239)."""

    alphas_cumprod: tuple[float, ...]
    """Squares of alpha at the T training timesteps, falling; :meth:`from_betas` computes them."""

    @classmethod
    def from_betas(cls, betas: Sequence[float] | np.ndarray, *, zero_terminal_snr: bool = False) -> VariancePreserving:
        """Build the schedule from betas (T,) in (0, 1].

        ``zero_terminal_snr`` rescales the table so that the last timestep is pure noise (Lin et al., arXiv 2305.08891,
        algorithm 1). Raises InvalidParameter for other betas.
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
        angle = float(np.interp(timestep, np.arange(self.train_steps), self._angles))
        return Point(math.cos(angle), math.sin(angle))

    def timestep(self, point: Point) -> float:
        return float(np.interp(point.angle, self._angles, np.arange(self.train_steps)))

    @functools.cached_property
    def _angles(self) -> np.ndarray:
        """Angle of each training timestep, rising."""
        alphas = np.asarray(self.alphas_cumprod)
        angles: np.ndarray = np.arctan2(np.sqrt(1 - alphas), np.sqrt(alphas))
        return angles

    def for_shape(self, shape: Sequence[int]) -> VariancePreserving:
        return self

    def shift_timesteps(self, timesteps: np.ndarray) -> np.ndarray:
        rounded: np.ndarray = np.round(timesteps)  # the network was trained on whole timesteps only
        return rounded


@dc.dataclass(frozen=True)
class ResolutionShift:
    """Resolution-dependent shift of a rectified flow, by the number of a transformer's tokens.

    mu is linear in the number of tokens, through two pairs of tokens and value; the shift is ``exp(mu)``, or mu itself
    if not ``exponential``. The models of Black Forest Labs have these numbers in their scheduler's configuration.
    """

    tokens: tuple[int, int] = (256, 4096)
    values: tuple[float, float] = (0.5, 1.15)
    patch: int = 2
    """Side of a token in latents."""
    exponential: bool = True

    def __call__(self, shape: Sequence[int]) -> float:
        """Return the shift for latents of ``shape`` (C, h, w)."""
        _, height, width = shape
        (few, many), (low, high) = self.tokens, self.values
        count = (height // self.patch) * (width // self.patch)
        mu = low + (high - low) * (count - few) / (many - few)
        return math.exp(mu) if self.exponential else mu


@dc.dataclass(frozen=True)
class RectifiedFlow:
    """Schedule with ``alpha = 1 - sigma``; the timestep is sigma times the training steps (arXiv 2209.03003).

    ``shift`` moves the steps towards noise, which large images need (Esser et al., arXiv 2403.03206, section 5.3.2).
    """

    train_steps: int = 1000
    """Number of training timesteps."""
    shift: float = 1.0
    """Factor of sigma / (1 - sigma) at every step of a path; 1 moves none."""
    first: float = 1.0
    """Timestep of the lowest noise."""
    terminal: float | None = None
    """Sigma at which the last step of a path starts; all steps are stretched towards clean to reach it."""
    shift_of: ResolutionShift | None = None
    """Shift by the shape of the latents, if it depends on it."""

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
    """Return the betas (T,) of DDPM: evenly spaced (arXiv 2006.11239)."""
    return np.linspace(start, end, steps)


def scaled_linear(steps: int = 1000, start: float = 0.00085, end: float = 0.012) -> np.ndarray:
    """Return the betas (T,) of latent diffusion: their roots are evenly spaced (arXiv 2112.10752)."""
    return np.linspace(math.sqrt(start), math.sqrt(end), steps) ** 2


def cosine(steps: int = 1000, offset: float = 0.008, largest: float = 0.999) -> np.ndarray:
    """Return the betas (T,) of the squared-cosine schedule (Nichol & Dhariwal, arXiv 2102.09672)."""
    level = np.cos((np.arange(steps + 1) / steps + offset) / (1 + offset) * math.pi / 2) ** 2
    betas: np.ndarray = np.minimum(1 - level[1:] / level[:-1], largest)
    return betas
