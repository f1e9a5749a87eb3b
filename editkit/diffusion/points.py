"""Points (alpha, sigma) of a diffusion: noisy latents are ``x = alpha * x0 + sigma * eps``."""

from __future__ import annotations

import dataclasses as dc
import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from .transfer import to_device

T = TypeVar("T")


class Point(NamedTuple):
    """Coefficients of signal and noise in a latent.

    Variance-preserving models have ``alpha**2 + sigma**2 == 1``, rectified flow has ``alpha + sigma == 1``; the
    formulas of sampling and inversion hold for both.
    """

    alpha: float
    """Factor of the clean latents."""
    sigma: float
    """Factor of the noise."""

    @property
    def angle(self) -> float:
        """Noise level from 0 (clean) to pi/2 (pure noise); unlike the ratio it is finite at alpha 0 and sigma 0."""
        return math.atan2(self.sigma, self.alpha)

    @property
    def log_snr_half(self) -> float:
        """lambda = log(alpha / sigma), the variable of exponential integrators."""
        if self.sigma == 0.0:
            return math.inf
        return math.log(self.alpha / self.sigma) if self.alpha > 0.0 else -math.inf

    def rows(self, count: int) -> tuple[Point, ...]:
        """Return the point of each of ``count`` rows."""
        return (self,) * count

    def repeat(self, count: int) -> Point:
        """Return the points of ``count`` batches in one."""
        return self

    def map(self, function: Callable[[Point], T]) -> T | list[T]:
        """Apply a function to the point; a :class:`PointBatch` gives a list."""
        return function(self)

    def coefficients(self, like: Tensor) -> tuple[float | Tensor, float | Tensor]:
        """Return alpha and sigma, which broadcast over latents ``like`` (B, C, h, w)."""
        return self.alpha, self.sigma


class RenoisePoint(Point):
    """Point that is reached by adding fresh noise instead of a solver step (RePaint, arXiv 2201.09865)."""


@dc.dataclass(frozen=True)
class PointBatch:
    """A point for each row of a batch, so that one network call serves several timesteps."""

    points: tuple[Point, ...]
    """B points, one for each row."""

    def rows(self, count: int) -> tuple[Point, ...]:
        """Return the point of each of ``count`` rows."""
        assert count == len(self.points)
        return self.points

    def repeat(self, count: int) -> PointBatch:
        """Return the points of ``count`` batches in one."""
        return PointBatch(self.points * count)

    def map(self, function: Callable[[Point], T]) -> T | list[T]:
        """Apply a function to the point of each row."""
        return [function(point) for point in self.points]

    def coefficients(self, like: Tensor) -> tuple[float | Tensor, float | Tensor]:
        """Return alphas and sigmas (B, 1, 1, 1), which broadcast over latents ``like`` (B, C, h, w)."""
        table = to_device(torch.tensor(self.points, dtype=like.dtype, device="cpu"), like.device)
        alphas, sigmas = table.view(-1, 2, *(1,) * (like.ndim - 1)).unbind(1)
        return alphas, sigmas


CLEAN = Point(1.0, 0.0)
"""The clean end: no noise."""

HALF_KEPT_SNR = 1 / 8
"""Signal-to-noise ratio at which half of the detail of a source counts as kept."""


def detail_share(point: Point) -> float:
    """Return the share in [0, 1] of the source's detail that noise at ``point`` leaves.

    With ``r = (alpha / sigma)**2 / HALF_KEPT_SNR`` it is ``r**2 / (1 + r**2)``: 1 without noise, near 1 at the noise of
    small strengths, 0 at pure noise.
    """
    signal, noise = point.alpha**4, (HALF_KEPT_SNR * point.sigma**2) ** 2
    return signal / (signal + noise)


def add_noise(x0: Tensor, eps: Tensor, point: Point) -> Tensor:
    """Return the noisy latents at ``point`` of x0 and eps (B, C, h, w): the closed-form forward process."""
    return point.alpha * x0 + point.sigma * eps


def renoise(x: Tensor, eps: Tensor, p: Point, q: Point) -> Tensor:
    """Return noisy latents (B, C, h, w) at ``p`` raised to the noisier ``q`` by fresh noise ``eps``."""
    scale = q.alpha / p.alpha
    return scale * x + math.sqrt(q.sigma**2 - (scale * p.sigma) ** 2) * eps


def eps_of(x: Tensor, x0: Tensor, point: Point | PointBatch) -> Tensor:
    """Return the noise in ``x`` (B, C, h, w) at a point, or at each row's own, given its clean part; sigma is not 0."""
    alpha, sigma = point.coefficients(x)
    return (x - alpha * x0) / sigma
