"""BELM: a reversible two-step method of second order (arXiv 2410.07273)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from editkit import Denoiser, InversionRecord, Noise, Point, SamplingPath, Stepper, ddim_step, eps_of

from .ddim import ddim_transition
from .reversible import Reversible

_ALPHA_FLOOR = 0.1
"""How much of sigma is added to alpha where sigma / alpha would be infinite."""


class Belm(Reversible):
    """The explicit reversible two-step method of second order, O-BELM (Wang et al., arXiv 2410.07273).

    The way up begins with a step of Heun's, the way down with what was recorded.
    """

    def invert(self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None) -> Iterator[Tensor]:
        x, before = x0, None
        for p, q in itertools.pairwise(path):
            if p != q:  # a path may stand still at its end
                after = heun_start(denoise, x, p, q) if before is None else two_step(denoise, x, p, q, before)
                x, before = after, (x, p)
            yield x

    def replay_stepper(self, climb: InversionRecord, shares: Tensor) -> Stepper:
        first_difference = climb.trajectory[1] - climb.trajectory[0]
        return _BelmStepper(torch.einsum("bs,s...->b...", shares, first_difference))


class _BelmStepper:
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


def heun_start(denoise: Denoiser, x: Tensor, p: Point, q: Point) -> Tensor:
    """A step up that takes the mean of the noise found at both its ends."""
    eps = eps_of(x, denoise(x, p), p)
    predicted = ddim_transition(x, eps, p, q)
    return ddim_transition(x, (eps + eps_of(predicted, denoise(predicted, q), q)) / 2, p, q)


def two_step(denoise: Denoiser, x: Tensor, p: Point, q: Point, before: tuple[Tensor, Point]) -> Tensor:
    """A step of DDIM from p to q, and in proportion what one back from p misses the latent before by.

    That is the paper's method, in either direction: its coefficients are those with which the curvature of the way
    cancels. In its variables, ``x / alpha`` and ``sigma / alpha``, the proportion is the square of that of both steps;
    these are infinite at pure noise, and so ``alpha + 0.1 sigma`` takes the place of alpha here.
    """
    (earlier, o), x0 = before, denoise(x, p)
    scales = [point.alpha + _ALPHA_FLOOR * point.sigma for point in (o, p, q)]
    coming, here, going = (point.sigma / scale for point, scale in zip((o, p, q), scales, strict=True))
    proportion = ((going - here) / (here - coming)) ** 2 * scales[2] / scales[0]
    return ddim_step(x, x0, p, q) + proportion * (earlier - ddim_step(x, x0, p, o))
