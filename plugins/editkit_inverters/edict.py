"""EDICT: two coupled latents with algebraically invertible steps (arXiv 2211.12446)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator

import torch
from torch import Tensor

from editkit import Denoiser, InversionRecord, Noise, Point, SamplingPath, Stepper, eps_of

from .reversible import PAPER_STEPS, Reversible


class Edict(Reversible):
    """Two latents, each moved by the network's estimate at the other, EDICT (Wallace et al., arXiv 2211.12446).

    ``mixing`` is the paper's p: the weight of each latent when both are mixed after a step, on a path of 50 steps.
    Unlike the paper, the weight rises with the number of steps, since the inversion divides by it in every step.
    """

    def __init__(self, mixing: float) -> None:
        self.mixing = mixing

    def weight(self, path: SamplingPath) -> float:
        """Return the mixing weight of one step of ``path``."""
        return math.pow(self.mixing, PAPER_STEPS / (len(path) - 1))

    def invert(
        self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None
    ) -> Generator[Tensor, None, dict[str, Tensor]]:
        x = y = x0
        # Numbered from the noisy end, as in the replay.
        numbers = reversed(range(len(path) - 1))
        for number, (q, p) in zip(numbers, itertools.pairwise(path), strict=True):
            pair = _swap_if_odd((x, y), number)
            x, y = _swap_if_odd(_inversion_step(denoise, *pair, p, q, self.weight(path)), number)
            yield x
        return {"apart": y - x}  # the name of the tensor in inversion files

    def replay_stepper(self, record: InversionRecord, shares: Tensor) -> Stepper:
        return _EdictStepper(torch.einsum("bs,s...->b...", shares, record.extras["apart"]), self.weight(record.path))


class _EdictStepper:
    """Replay of the pair; ``offset`` (B, C, h, w) is the second latent minus the first.

    A control that changes the first latent between two steps shifts the second one along.
    """

    def __init__(self, offset: Tensor, weight: float) -> None:
        self.offset, self.weight = offset, weight
        self.number = 0

    def __call__(self, denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
        pair = _swap_if_odd((x, x + self.offset), self.number)
        after, other = _swap_if_odd(_replay_step(denoise, *pair, p, q, self.weight), self.number)
        self.number, self.offset = self.number + 1, other - after
        return after


def _swap_if_odd(pair: tuple[Tensor, Tensor], number: int) -> tuple[Tensor, Tensor]:
    """Order the pair so that its latents take turns in moving first; a second call restores the order."""
    return pair if number % 2 == 0 else (pair[1], pair[0])


def _replay_step(
    denoise: Denoiser, lead: Tensor, follow: Tensor, p: Point, q: Point, weight: float
) -> tuple[Tensor, Tensor]:
    """Move both latents from p to q, one after the other, then mix them."""
    scale, shift = _ddim_coefficients(denoise, follow, p, q)
    lead = scale * lead + shift
    scale, shift = _ddim_coefficients(denoise, lead, p, q)
    follow = scale * follow + shift
    lead = weight * lead + (1 - weight) * follow
    return lead, weight * follow + (1 - weight) * lead


def _inversion_step(
    denoise: Denoiser, lead: Tensor, follow: Tensor, p: Point, q: Point, weight: float
) -> tuple[Tensor, Tensor]:
    """Move both latents from q to p: undo :func:`_replay_step` line by line."""
    follow = (follow - (1 - weight) * lead) / weight
    lead = (lead - (1 - weight) * follow) / weight
    scale, shift = _ddim_coefficients(denoise, lead, p, q)
    follow = (follow - shift) / scale
    scale, shift = _ddim_coefficients(denoise, follow, p, q)
    return (lead - shift) / scale, follow


def _ddim_coefficients(denoise: Denoiser, other: Tensor, p: Point, q: Point) -> tuple[float, Tensor]:
    """Return scale and shift (B, C, h, w) of DDIM's step from p to q, with the network evaluated at ``other``.

    The shift is a multiple of the estimated noise. At pure noise, where the ratio of the alphas is infinite, it is a
    multiple of the x0 estimate.
    """
    x0 = denoise(other, p)
    if p.alpha == 0.0:
        return q.sigma / p.sigma, q.alpha * x0
    scale = q.alpha / p.alpha
    return scale, (q.sigma - scale * p.sigma) * eps_of(other, x0, p)
