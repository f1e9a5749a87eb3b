"""Rex: the steps of an explicit Runge-Kutta scheme made reversible by a coupled pair of latents (arXiv 2502.08834)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from editkit import Denoiser, InversionRecord, Noise, Point, SamplingPath, Stepper, eps_of

from .reversible import ALPHA_FLOOR, PAPER_STEPS, Reversible, finite_scale


class Pair(NamedTuple):
    """Latents (B, C, h, w) and their partner, both at the same point."""

    latents: Tensor
    partner: Tensor


class Rex(Reversible):
    """Reversible exponential Runge-Kutta steps, Rex (Blasingame and Liu, arXiv 2502.08834).

    In ``y = x / s`` and ``tau = sigma / s`` the probability flow has no linear term, ``dy / dtau = f(y, tau)``. With
    the increment ``phi(y, tau, h)`` of a scheme and the partner ``z`` of ``y``, a step of the replay is that of
    McCallum and Foster (arXiv 2410.11648)::

        y' = coupling y + (1 - coupling) z + phi(z, tau, h)
        z' = z - phi(y', tau + h, -h)

    and the inversion, which starts from equal latents, undoes it line by line. The order is that of the scheme. Unlike
    the paper, whose s is alpha or sigma, ``s = alpha + 0.1 sigma``, which is 0 at neither end of a path, and
    ``coupling`` is that of 50 steps: it rises with their number, since the inversion divides by it in every step.
    """

    def __init__(self, scheme: str, coupling: float) -> None:
        self.scheme, self.coupling = scheme, coupling

    def weight(self, path: SamplingPath) -> float:
        """Return the coupling of one step of ``path``."""
        return math.pow(self.coupling, PAPER_STEPS / (len(path) - 1))

    def invert(
        self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None
    ) -> Generator[Tensor, None, dict[str, Tensor]]:
        pair, weight = Pair(x0, x0), self.weight(path)
        for q, p in itertools.pairwise(path):
            if p != q:  # a path may repeat its last point
                pair = undo_step(SCHEMES[self.scheme], denoise, pair, p, q, weight)
            yield pair.latents
        return {"offset": pair.partner - pair.latents}

    def replay_stepper(self, record: InversionRecord, shares: Tensor) -> Stepper:
        offset = torch.einsum("bs,s...->b...", shares, record.extras["offset"])
        return _RexStepper(SCHEMES[self.scheme], offset, self.weight(record.path))


class _RexStepper:
    """Replay of the pair; ``offset`` (B, C, h, w) is the partner minus the latents.

    A control that changes the latents between two steps shifts their partner along.
    """

    def __init__(self, scheme: Increment, offset: Tensor, coupling: float) -> None:
        self.scheme, self.offset, self.coupling = scheme, offset, coupling

    def __call__(self, denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
        if p == q:
            return x
        pair = replay_step(self.scheme, denoise, Pair(x, x + self.offset), p, q, self.coupling)
        self.offset = pair.partner - pair.latents
        return pair.latents


def replay_step(scheme: Increment, denoise: Denoiser, pair: Pair, p: Point, q: Point, coupling: float) -> Pair:
    """Move the pair from p to q."""
    here, there = finite_scale(p), finite_scale(q)
    partner = pair.partner / here
    mixed = coupling * pair.latents / here + (1 - coupling) * partner
    latents = there * (mixed + scheme(denoise, pair.partner, p, q))
    return Pair(latents, there * (partner - scheme(denoise, latents, q, p)))


def undo_step(scheme: Increment, denoise: Denoiser, pair: Pair, p: Point, q: Point, coupling: float) -> Pair:
    """Move the pair from q to p: undo :func:`replay_step` line by line."""
    here, there = finite_scale(p), finite_scale(q)
    partner = pair.partner / there + scheme(denoise, pair.latents, q, p)
    mixed = pair.latents / there - scheme(denoise, here * partner, p, q)
    return Pair(here * (mixed - (1 - coupling) * partner) / coupling, here * partner)


def euler_increment(denoise: Denoiser, x: Tensor, p: Point, q: Point) -> Tensor:
    """Return the change of ``y`` by Euler's method, which makes the step that of DDIM."""
    return _width(p, q) * _slope(denoise, x, p)


def heun_increment(denoise: Denoiser, x: Tensor, p: Point, q: Point) -> Tensor:
    """Return the change of ``y`` by Heun's method, of second order."""
    width, slope = _width(p, q), _slope(denoise, x, p)
    predicted = finite_scale(q) * (x / finite_scale(p) + width * slope)
    return width * (slope + _slope(denoise, predicted, q)) / 2


def _width(p: Point, q: Point) -> float:
    """Return the change of tau from p to q."""
    return q.sigma / finite_scale(q) - p.sigma / finite_scale(p)


def _slope(denoise: Denoiser, x: Tensor, point: Point) -> Tensor:
    """Return the derivative of ``y`` by tau at a point."""
    x0 = denoise(x, point)
    return eps_of(x, x0, point) - ALPHA_FLOOR * x0


Increment = Callable[[Denoiser, Tensor, Point, Point], Tensor]
"""``increment(denoise, x, p, q)``: the change of ``y`` (B, C, h, w) from p to q by a scheme, for latents ``x`` at p."""

SCHEMES: Mapping[str, Increment] = {"euler": euler_increment, "heun": heun_increment}
