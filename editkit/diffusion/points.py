"""Points (alpha, sigma) of a diffusion, and what holds at any of them: ``x = alpha * x0 + sigma * eps``."""

from __future__ import annotations

import dataclasses as dc
import math
from typing import NamedTuple

import torch
from torch import Tensor


class Point(NamedTuple):
    """How much of a latent is signal and how much is noise.

    Variance-preserving models have ``alpha**2 + sigma**2 == 1``, rectified flow has ``alpha + sigma == 1``; no
    formula of the loops asks which.
    """

    alpha: float
    sigma: float

    @property
    def angle(self) -> float:
        """Noisiness from 0 (clean) to pi/2 (pure noise): finite where alpha or sigma is 0, unlike their ratio."""
        return math.atan2(self.sigma, self.alpha)

    @property
    def log_snr_half(self) -> float:
        """lambda = log(alpha / sigma), in which the exponential integrators step."""
        if self.sigma == 0.0:
            return math.inf
        return math.log(self.alpha / self.sigma) if self.alpha > 0.0 else -math.inf


class Raised(Point):
    """A point that a path goes back up to: fresh noise leads there, not a solver."""


@dc.dataclass(frozen=True)
class Points:
    """A point for each row of a batch, so that one network call serves several timesteps."""

    rows: tuple[Point, ...]

    def times(self, count: int) -> Points:
        """The points of ``count`` such batches in one."""
        return Points(self.rows * count)

    def columns(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Alphas and sigmas (B, 1, 1, 1) that broadcast over latents ``like`` (B, C, h, w)."""
        table = torch.tensor(self.rows, dtype=like.dtype, device=like.device)
        alphas, sigmas = table.view(-1, 2, *(1,) * (like.ndim - 1)).unbind(1)
        return alphas, sigmas


CLEAN = Point(1.0, 0.0)


def add_noise(x0: Tensor, eps: Tensor, point: Point) -> Tensor:
    """The closed-form forward process: x0 and eps (B, C, h, w) to the noisy latent at ``point``."""
    return point.alpha * x0 + point.sigma * eps


def raised(x: Tensor, eps: Tensor, p: Point, q: Point) -> Tensor:
    """Noisy latents (B, C, h, w) at ``p`` brought up to the noisier ``q`` with fresh noise ``eps``."""
    kept = q.alpha / p.alpha
    return kept * x + math.sqrt(q.sigma**2 - (kept * p.sigma) ** 2) * eps


def eps_of(x: Tensor, x0: Tensor, point: Point) -> Tensor:
    """The noise in ``x`` (B, C, h, w) once its clean part is known; ``point.sigma`` must not be 0."""
    return (x - point.alpha * x0) / point.sigma
