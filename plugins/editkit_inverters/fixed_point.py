"""Fixed-point inversion: solve each step for the latent from which the sampler returns exactly."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from editkit import Denoiser, Inverter, Noise, Point, SamplingPath, ddim_step, eps_of

from .ddim import ddim_transition

_HISTORY = 5
"""Number of earlier iterates that a new one is extrapolated from."""
_LEAST_DAMPING = 2**-4
"""Share of a step at which a row keeps its best iterate: four refusals on end are due to the rounding of the network.

A network in half precision leaves larger residuals than the tolerance of float32.
"""


class _Iterate(NamedTuple):
    """A guess of the noisier latent and the results of its network call; rows on the first axis."""

    z: Tensor
    x0: Tensor
    move: Tensor
    """Change of ``z`` in one plain iteration."""
    residual: Tensor
    """RMS error of one sampling step from ``z``, (B, 1, 1, 1)."""


class FixedPoint(Inverter):
    """Find z whose sampling step ends at x (Pan et al., arXiv 2309.04907), row by row.

    The iteration inverts the step with an estimate made at z: the noise on the clean half of a path, x0 on the noisy
    half. Each depends less on z there, and x0 is the only one defined at pure noise. The iteration is
    accelerated by Anderson's mixing (Walker & Ni 2011, doi 10.1137/10078356X). A row accepts an iterate only if its
    residual falls; otherwise it returns to its best iterate and halves the step, to a sixteenth at least.
    """

    def __init__(self, iterations: int, tolerance: float | None) -> None:
        self.iterations = iterations
        self.tolerance = tolerance

    def invert(self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None) -> Iterator[Tensor]:
        x = x0
        eps = eps_of(x, denoise(x, path[0]), path[0])
        for p, q in itertools.pairwise(path):
            solution = self.solve(denoise, x, ddim_transition(x, eps, p, q), p, q)
            x, eps = solution.z, eps_of(solution.z, solution.x0, q)
            yield x

    def solve(self, denoise: Denoiser, x: Tensor, guess: Tensor, p: Point, q: Point) -> _Iterate:
        """Return the latent at ``q`` whose sampling step ends at ``x`` at ``p``, starting from ``guess``."""
        tolerance = self.tolerance or 64 * torch.finfo(x.dtype).eps
        best = _evaluate(denoise, x, guess, p, q)
        damping = torch.ones_like(best.residual)
        history: list[tuple[Tensor, Tensor]] = []
        for _ in range(self.iterations):
            is_open = (best.residual > tolerance) & (damping > _LEAST_DAMPING)
            if not bool(is_open.any()):
                break
            candidate = _evaluate(denoise, x, best.z + damping * _anderson_step(best.move, history), p, q)
            history = [*history[1 - _HISTORY :], (candidate.z - best.z, candidate.move - best.move)]
            # A row that has ended stays unchanged, so that it does not depend on the other rows of the batch.
            better = (candidate.residual < best.residual) & is_open
            best = _Iterate(*(torch.where(better, new, old) for new, old in zip(candidate, best, strict=True)))
            damping = torch.where(is_open, torch.where(better, (damping * 2).clamp(max=1.0), damping / 2), damping)
        return best


def _evaluate(denoise: Denoiser, x: Tensor, z: Tensor, p: Point, q: Point) -> _Iterate:
    """Call the network for ``z`` at q and measure the sampling step from there to ``x`` at p."""
    x0 = denoise(z, q)
    noisy = p.sigma * q.sigma > p.alpha * q.alpha
    after = ddim_step(x, x0, p, q) if noisy else ddim_transition(x, eps_of(z, x0, q), p, q)
    return _Iterate(z, x0, after - z, _rms_difference(ddim_step(z, x0, q, p), x))


def _anderson_step(move: Tensor, history: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Anderson's step: ``move`` without its part in the span of earlier changes of iterate and move, for each row."""
    if not history:
        return move
    shifts, changes = (torch.stack([pair[i].flatten(1) for pair in history], 2).double() for i in (0, 1))  # (B, n, m)
    gram = changes.mT @ changes
    # A ridge keeps the system solvable if changes are parallel.
    size = gram.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-300)[:, None, None]
    ridge = 1e-12 * size * torch.eye(len(history), dtype=gram.dtype, device=gram.device)
    weights = torch.linalg.solve(gram + ridge, changes.mT @ move.flatten(1).double()[..., None])
    explained: Tensor = ((shifts + changes) @ weights)[..., 0].view_as(move)
    return move - explained.to(move.dtype)


def _rms_difference(one: Tensor, other: Tensor) -> Tensor:
    """Root of the mean squared difference of each row, (B, 1, 1, 1)."""
    return (one - other).square().flatten(1).mean(1).sqrt().view(-1, *(1,) * (one.ndim - 1))
