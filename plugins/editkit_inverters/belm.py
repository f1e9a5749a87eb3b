"""BELM: a reversible two-step method of second order (arXiv 2410.07273)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from editkit import Denoiser, InversionRecord, Noise, Point, SamplingPath, Stepper, ddim_step, eps_of

from .ddim import ddim_transition
from .reversible import Reversible, finite_scale


class Belm(Reversible):
    """Explicit reversible two-step method of second order, O-BELM (Wang et al., arXiv 2410.07273).

    The inversion starts with a step of Heun's method, the replay with the recorded first difference.
    """

    def invert(self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None) -> Iterator[Tensor]:
        x, previous = x0, None
        for p, q in itertools.pairwise(path):
            if p != q:  # a path may repeat its last point
                after = heun_start(denoise, x, p, q) if previous is None else two_step(denoise, x, p, q, previous)
                x, previous = after, (x, p)
            yield x

    def replay_stepper(self, record: InversionRecord, shares: Tensor) -> Stepper:
        first_difference = record.trajectory[1] - record.trajectory[0]
        return _BelmStepper(torch.einsum("bs,s...->b...", shares, first_difference))


class _BelmStepper:
    """Two-step replay; ``first_difference`` (B, C, h, w) is the change of each row in its first step."""

    def __init__(self, first_difference: Tensor) -> None:
        self.first_difference = first_difference
        self.previous: tuple[Tensor, Point] | None = None

    def __call__(self, denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
        if p == q:
            return x
        previous, self.previous = self.previous, (x, p)
        return x + self.first_difference if previous is None else two_step(denoise, x, p, q, previous)


def heun_start(denoise: Denoiser, x: Tensor, p: Point, q: Point) -> Tensor:
    """Step from p to q along the mean of the noise estimates at both ends."""
    eps = eps_of(x, denoise(x, p), p)
    predicted = ddim_transition(x, eps, p, q)
    return ddim_transition(x, (eps + eps_of(predicted, denoise(predicted, q), q)) / 2, p, q)


def two_step(denoise: Denoiser, x: Tensor, p: Point, q: Point, previous: tuple[Tensor, Point]) -> Tensor:
    """Step from p to q with the latent and the point of the previous step, in either direction.

    The step is DDIM's, plus a multiple of the error of a DDIM step back from p to the previous latent. The factor is
    the one that cancels the curvature of the path: in the paper's variables, ``x / alpha`` and ``sigma / alpha``, the
    squared ratio of both steps. Unlike the paper, ``alpha + 0.1 sigma`` takes the place of alpha in these variables,
    which keeps them finite at pure noise.
    """
    (earlier, o), x0 = previous, denoise(x, p)
    scales = [finite_scale(point) for point in (o, p, q)]
    before, here, after = (point.sigma / scale for point, scale in zip((o, p, q), scales, strict=True))
    factor = ((after - here) / (here - before)) ** 2 * scales[2] / scales[0]
    return ddim_step(x, x0, p, q) + factor * (earlier - ddim_step(x, x0, p, o))
