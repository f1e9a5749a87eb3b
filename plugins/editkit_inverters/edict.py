"""Inverters whose steps undo each other by algebra: what goes up comes down by the same numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Iterator, Sequence

import torch
from torch import Tensor

from editkit import Climb, Control, Denoiser, Inverter, Noise, Path, PinnedSource, Point, Stepper, ddim_step, eps_of

from .ddim import moved

BOUND = 0.1
"""How much of sigma is added to alpha where sigma / alpha would be infinite."""
USUAL = 50
"""Steps of the paper that the mixing of a pair is given for."""


class Reversible(Inverter):
    """Base of both: guided up as down, with the source pinned for where a replay is guided otherwise, or rounding."""

    guided = True

    def controls(self, climb: Climb, shares: Tensor) -> Sequence[Control]:
        return (PinnedSource(climb.trajectory, shares),)


class TwoStep(Reversible):
    """The explicit reversible two-step method of second order, O-BELM (Wang et al., arXiv 2410.07273).

    The way up begins with a step of Heun's, the way down with what was recorded.
    """

    def climb(self, denoise: Denoiser, x0: Tensor, path: Path, noise: Noise | None = None) -> Iterator[Tensor]:
        x, before = x0, None
        for p, q in itertools.pairwise(path):
            if p != q:  # a path may stand still at its end
                after = begun(denoise, x, p, q) if before is None else two_step(denoise, x, p, q, before)
                x, before = after, (x, p)
            yield x

    def stepper(self, climb: Climb, shares: Tensor) -> Stepper:
        moved_first = climb.trajectory[1] - climb.trajectory[0]
        return TwoStepDown(torch.einsum("bs,s...->b...", shares, moved_first))


class TwoStepDown:
    """Two steps of history make the next; the first step is given: how far (B, C, h, w) each row moves in it."""

    def __init__(self, first: Tensor) -> None:
        self.first = first
        self.before: tuple[Tensor, Point] | None = None

    def __call__(self, denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
        if p == q:
            return x
        after = x + self.first if self.before is None else two_step(denoise, x, p, q, self.before)
        self.before = (x, p)
        return after


def begun(denoise: Denoiser, x: Tensor, p: Point, q: Point) -> Tensor:
    """A step up that takes the mean of the noise found at both its ends."""
    eps = eps_of(x, denoise(x, p), p)
    predicted = moved(x, eps, p, q)
    return moved(x, (eps + eps_of(predicted, denoise(predicted, q), q)) / 2, p, q)


def two_step(denoise: Denoiser, x: Tensor, p: Point, q: Point, before: tuple[Tensor, Point]) -> Tensor:
    """A step of DDIM from p to q, and in proportion what one back from p misses the latent before by.

    That is the paper's method, in either direction: its coefficients are those with which the curvature of the way
    cancels. In its variables, ``x / alpha`` and ``sigma / alpha``, the proportion is the square of that of both steps;
    these are infinite at pure noise, and so ``alpha + 0.1 sigma`` takes the place of alpha here.
    """
    (earlier, o), x0 = before, denoise(x, p)
    scales = [point.alpha + BOUND * point.sigma for point in (o, p, q)]
    coming, here, going = (point.sigma / scale for point, scale in zip((o, p, q), scales, strict=True))
    proportion = ((going - here) / (here - coming)) ** 2 * scales[2] / scales[0]
    return ddim_step(x, x0, p, q) + proportion * (earlier - ddim_step(x, x0, p, o))


class Coupled(Reversible):
    """Two latents of which each moves by what the network says of the other, EDICT (Wallace et al., arXiv 2211.12446).

    ``mixing`` is p there: how much of itself each keeps when they are brought together again after a step, of 50 steps;
    the more steps, the less is mixed in each, or else they would part by as many powers of p on the way up.
    """

    def __init__(self, mixing: float) -> None:
        self.mixing = mixing

    def weight(self, path: Path) -> float:
        return math.pow(self.mixing, USUAL / (len(path) - 1))

    def climb(
        self, denoise: Denoiser, x0: Tensor, path: Path, noise: Noise | None = None
    ) -> Generator[Tensor, None, dict[str, Tensor]]:
        x = y = x0
        # Numbered from the noise, as the way down counts.
        numbers = reversed(range(len(path) - 1))
        for number, (q, p) in zip(numbers, itertools.pairwise(path), strict=True):
            x, y = in_turn(ascended(denoise, *in_turn((x, y), number), p, q, self.weight(path)), number)
            yield x
        return {"apart": y - x}

    def stepper(self, climb: Climb, shares: Tensor) -> Stepper:
        return CoupledDown(torch.einsum("bs,s...->b...", shares, climb.kept["apart"]), self.weight(climb.path))


class CoupledDown:
    """The pair's way down; ``apart`` (B, C, h, w) is by how much the second latent differs from the first at its start.

    Whatever moves the first moves the second along.
    """

    def __init__(self, apart: Tensor, weight: float) -> None:
        self.apart, self.weight = apart, weight
        self.number = 0

    def __call__(self, denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
        pair = in_turn((x, x + self.apart), self.number)
        after, other = in_turn(descended(denoise, *pair, p, q, self.weight), self.number)
        self.number, self.apart = self.number + 1, other - after
        return after


def in_turn(pair: tuple[Tensor, Tensor], number: int) -> tuple[Tensor, Tensor]:
    """The one that leads a step and the one that follows: they take turns."""
    return pair if number % 2 == 0 else (pair[1], pair[0])


def descended(
    denoise: Denoiser, lead: Tensor, follow: Tensor, p: Point, q: Point, weight: float
) -> tuple[Tensor, Tensor]:
    """Both latents a step down from p to q: each moves, then both are mixed."""
    stretch, push = motion(denoise, follow, p, q)
    lead = stretch * lead + push
    stretch, push = motion(denoise, lead, p, q)
    follow = stretch * follow + push
    lead = weight * lead + (1 - weight) * follow
    return lead, weight * follow + (1 - weight) * lead


def ascended(
    denoise: Denoiser, lead: Tensor, follow: Tensor, p: Point, q: Point, weight: float
) -> tuple[Tensor, Tensor]:
    """Both latents back up from q to p: what :func:`descended` did is undone line by line."""
    follow = (follow - (1 - weight) * lead) / weight
    lead = (lead - (1 - weight) * follow) / weight
    stretch, push = motion(denoise, lead, p, q)
    follow = (follow - push) / stretch
    stretch, push = motion(denoise, follow, p, q)
    return (lead - push) / stretch, follow


def motion(denoise: Denoiser, other: Tensor, p: Point, q: Point) -> tuple[float, Tensor]:
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
