"""The inverter that solves for the latent from which the way down leads exactly back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from editkit import Control, Denoiser, Path, Point, eps_of

from .explicit import moved


class FixedPoint:
    """Find z with ``step_down(z) == x`` by damped iteration (Pan et al., arXiv 2309.04907), row by row.

    An iterate is kept only where its residual fell; where it rose the row goes back to its best and takes half the
    step. Undamped iteration diverges where the network's noise changes fast along the path.
    """

    def __init__(self, iterations: int, tolerance: float | None) -> None:
        self.iterations = iterations
        self.tolerance = tolerance

    def climb(self, denoise: Denoiser, x0: Tensor, path: Path) -> Iterator[Tensor]:
        x = x0
        eps = eps_of(x, denoise(x, path[0]), path[0])
        for p, q in itertools.pairwise(path):
            x, eps = self.solve(denoise, x, moved(x, eps, p, q), p, q)
            yield x

    def solve(self, denoise: Denoiser, x: Tensor, z: Tensor, p: Point, q: Point) -> tuple[Tensor, Tensor]:
        """Return the latent at ``q`` that leads back to ``x`` at ``p``, and its noise; ``z`` is the first guess."""
        tolerance = self.tolerance or 64 * torch.finfo(x.dtype).eps
        eps = eps_of(z, denoise(z, q), q)
        residual = distance(moved(z, eps, q, p), x)
        damping = torch.ones_like(residual)
        for _ in range(self.iterations):
            if bool((residual <= tolerance).all()):
                break
            tried = torch.lerp(z, moved(x, eps, p, q), damping)
            tried_eps = eps_of(tried, denoise(tried, q), q)
            tried_residual = distance(moved(tried, tried_eps, q, p), x)
            better = tried_residual < residual
            z, eps = torch.where(better, tried, z), torch.where(better, tried_eps, eps)
            residual = torch.where(better, tried_residual, residual)
            damping = torch.where(better, (damping * 1.5).clamp(max=1.0), damping / 2)
        return z, eps

    def controls(self, trajectory: Tensor, shares: Tensor) -> Sequence[Control]:
        return ()


def distance(one: Tensor, other: Tensor) -> Tensor:
    """Root of the mean squared difference of each row, (B, 1, 1, 1)."""
    return (one - other).square().flatten(1).mean(1).sqrt().view(-1, *(1,) * (one.ndim - 1))
