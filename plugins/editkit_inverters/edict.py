"""EDICT: two coupled latents whose steps undo each other by algebra (arXiv 2211.12446)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator

import torch
from torch import Tensor

from editkit import Denoiser, InversionRecord, Noise, Point, SamplingPath, Stepper, eps_of

from .reversible import Reversible

_PAPER_STEPS = 50
"""Steps of the paper that the mixing of a pair is given for."""


class Edict(Reversible):
    """Two latents of which each moves by what the network says of the other, EDICT (Wallace et al., arXiv 2211.12446).

    ``mixing`` is p there: how much of itself each keeps when they are brought together again after a step, of 50 steps;
    the more steps, the less is mixed in each, or else they would part by as many powers of p on the way up.
    """

    def __init__(self, mixing: float) -> None:
        self.mixing = mixing

    def weight(self, path: SamplingPath) -> float:
        return math.pow(self.mixing, _PAPER_STEPS / (len(path) - 1))

    def invert(
        self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None
    ) -> Generator[Tensor, None, dict[str, Tensor]]:
        x = y = x0
        # Numbered from the noise, as the way down counts.
        numbers = reversed(range(len(path) - 1))
        for number, (q, p) in zip(numbers, itertools.pairwise(path), strict=True):
            x, y = _in_turn(_step_up(denoise, *_in_turn((x, y), number), p, q, self.weight(path)), number)
            yield x
        return {"apart": y - x}  # the name of the tensor in inversion files

    def replay_stepper(self, climb: InversionRecord, shares: Tensor) -> Stepper:
        return _EdictStepper(torch.einsum("bs,s...->b...", shares, climb.extras["apart"]), self.weight(climb.path))


class _EdictStepper:
    """The pair's way down; ``offset`` (B, C, h, w) is the second latent minus the first at its start.

    Whatever moves the first moves the second along.
    """

    def __init__(self, offset: Tensor, weight: float) -> None:
        self.offset, self.weight = offset, weight
        self.number = 0

    def __call__(self, denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
        pair = _in_turn((x, x + self.offset), self.number)
        after, other = _in_turn(_step_down(denoise, *pair, p, q, self.weight), self.number)
        self.number, self.offset = self.number + 1, other - after
        return after


def _in_turn(pair: tuple[Tensor, Tensor], number: int) -> tuple[Tensor, Tensor]:
    """The one that leads a step and the one that follows: they take turns."""
    return pair if number % 2 == 0 else (pair[1], pair[0])


def _step_down(
    denoise: Denoiser, lead: Tensor, follow: Tensor, p: Point, q: Point, weight: float
) -> tuple[Tensor, Tensor]:
    """Both latents a step down from p to q: each moves, then both are mixed."""
    stretch, push = ddim_coefficients(denoise, follow, p, q)
    lead = stretch * lead + push
    stretch, push = ddim_coefficients(denoise, lead, p, q)
    follow = stretch * follow + push
    lead = weight * lead + (1 - weight) * follow
    return lead, weight * follow + (1 - weight) * lead


def _step_up(
    denoise: Denoiser, lead: Tensor, follow: Tensor, p: Point, q: Point, weight: float
) -> tuple[Tensor, Tensor]:
    """Both latents back up from q to p: what :func:`_step_down` did is undone line by line."""
    follow = (follow - (1 - weight) * lead) / weight
    lead = (lead - (1 - weight) * follow) / weight
    stretch, push = ddim_coefficients(denoise, lead, p, q)
    follow = (follow - push) / stretch
    stretch, push = ddim_coefficients(denoise, follow, p, q)
    return (lead - push) / stretch, follow


def ddim_coefficients(denoise: Denoiser, other: Tensor, p: Point, q: Point) -> tuple[float, Tensor]:
    """What DDIM's step from p to q multiplies a latent by and adds to it, as the network sees the other one.

    It adds noise, and so multiplies by the ratio of the alphas; from pure noise, where that is infinite, it adds the
    clean estimate.
    """
    x0 = denoise(other, p)
    if p.alpha == 0.0:
        stretch = q.sigma / p.sigma
        return stretch, q.alpha * x0
    stretch = q.alpha / p.alpha
    return stretch, (q.sigma - stretch * p.sigma) * eps_of(other, x0, p)
