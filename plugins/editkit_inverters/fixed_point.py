"""The inverter that solves for the latent from which the way down leads exactly back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from editkit import Denoiser, Inverter, Noise, Point, SamplingPath, ddim_step, eps_of

from .ddim import ddim_transition

_HISTORY = 5
"""Earlier iterates that a new one is extrapolated from."""


class _Iterate(NamedTuple):
    """A guess of the noisier latent, and all that one network call tells about it; rows on the first axis."""

    z: Tensor
    x0: Tensor
    move: Tensor
    """Where the plain iteration would go from ``z``, less ``z``."""
    residual: Tensor
    """What one step down from ``z`` misses its aim by, (B, 1, 1, 1)."""


class FixedPoint(Inverter):
    """Find z with ``step_down(z) == x`` (Pan et al., arXiv 2309.04907), row by row.

    The iteration ``z <- step_up(x)`` takes from z the noise on the clean half of a path and the clean estimate on the
    noisy half: whichever moves less with z there, and the only one that is defined at pure noise. It is accelerated
    by Anderson's mixing (Walker & Ni 2011, doi 10.1137/10078356X), and an iterate is kept only where its residual
    fell; where it rose, the row goes back to its best and takes half the step.
    """

    def __init__(self, iterations: int, tolerance: float | None) -> None:
        self.iterations = iterations
        self.tolerance = tolerance

    def invert(self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None) -> Iterator[Tensor]:
        x = x0
        eps = eps_of(x, denoise(x, path[0]), path[0])
        for p, q in itertools.pairwise(path):
            found = self.solve(denoise, x, ddim_transition(x, eps, p, q), p, q)
            x, eps = found.z, eps_of(found.z, found.x0, q)
            yield x

    def solve(self, denoise: Denoiser, x: Tensor, guess: Tensor, p: Point, q: Point) -> _Iterate:
        """Return the latent at ``q`` that leads back to ``x`` at ``p``, beginning from ``guess``."""
        tolerance = self.tolerance or 64 * torch.finfo(x.dtype).eps
        best = _evaluate(denoise, x, guess, p, q)
        damping = torch.ones_like(best.residual)
        known: list[tuple[Tensor, Tensor]] = []
        for _ in range(self.iterations):
            if bool((best.residual <= tolerance).all()):
                break
            tried = _evaluate(denoise, x, best.z + damping * _anderson_step(best.move, known), p, q)
            known = [*known[1 - _HISTORY :], (tried.z - best.z, tried.move - best.move)]
            # A row that is done stays as it is, whatever the batch around it still needs.
            better = (tried.residual < best.residual) & (best.residual > tolerance)
            best = _Iterate(*(torch.where(better, new, old) for new, old in zip(tried, best, strict=True)))
            damping = torch.where(better, (damping * 2).clamp(max=1.0), damping / 2)
        return best


def _evaluate(denoise: Denoiser, x: Tensor, z: Tensor, p: Point, q: Point) -> _Iterate:
    """Ask the network about ``z`` at q, as the latent that should lead back to ``x`` at p."""
    x0 = denoise(z, q)
    noisy = p.sigma * q.sigma > p.alpha * q.alpha
    after = ddim_step(x, x0, p, q) if noisy else ddim_transition(x, eps_of(z, x0, q), p, q)
    return _Iterate(z, x0, after - z, _rms_difference(ddim_step(z, x0, q, p), x))


def _anderson_step(move: Tensor, known: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Anderson's step: ``move`` less what the known changes of iterate and move explain of it, for each row."""
    if not known:
        return move
    shifts, changes = (torch.stack([pair[i].flatten(1) for pair in known], 2).double() for i in (0, 1))  # (B, n, m)
    gram = changes.mT @ changes
    # A little of the diagonal keeps parallel changes from cancelling to nothing.
    ridge = (
        1e-12 * gram.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-300)[:, None, None] * torch.eye(len(known)).to(gram)
    )
    weights = torch.linalg.solve(gram + ridge, changes.mT @ move.flatten(1).double()[..., None])
    explained: Tensor = ((shifts + changes) @ weights)[..., 0].view_as(move)
    return move - explained.to(move.dtype)


def _rms_difference(one: Tensor, other: Tensor) -> Tensor:
    """Root of the mean squared difference of each row, (B, 1, 1, 1)."""
    return (one - other).square().flatten(1).mean(1).sqrt().view(-1, *(1,) * (one.ndim - 1))
