"""Controlled inversion of rectified flow, whose paths are lines ``alpha + sigma == 1`` (arXiv 2410.10792)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from editkit import Control, Denoiser, InversionRecord, Inverter, Noise, Point, SamplingPath, eps_of

from .ddim import ddim_transition


class RfControlled(Inverter):
    """Euler's steps, pulled upward to one drawn noise and downward to the source (Rout et al., arXiv 2410.10792).

    The paper pulls velocities to those that lead straight to an aim. On a line that is to pull the noise that a step
    goes along (algorithm 1), and the clean estimate that it goes to (algorithm 2).
    """

    def __init__(self, gamma: float, eta: float, start: float, stop: float) -> None:
        self.gamma, self.eta, self.start, self.stop = gamma, eta, start, stop

    def invert(self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None) -> Iterator[Tensor]:
        assert noise is not None, "this climb is pulled to a noise that is drawn"
        x, aim = x0, noise()
        for p, q in itertools.pairwise(path):
            eps = eps_of(x, denoise(x, p), p)
            x = ddim_transition(x, eps + self.gamma * (aim - eps), p, q)
            yield x

    def controls(self, climb: InversionRecord, shares: Tensor) -> Sequence[Control]:
        steps = len(climb.path) - 1
        pulled = range(round(self.start * steps), round(self.stop * steps))
        return (_SourcePull(climb.trajectory[-1], shares, self.eta, pulled),)


class _SourcePull(Control):
    """Pulls the clean estimates of some steps towards the sources by the share ``eta``.

    ``sources`` is (S, C, h, w), ``shares`` (B, S) what each of B rows has of them; ``steps`` are the indices.
    """

    def __init__(self, sources: Tensor, shares: Tensor, eta: float, steps: range) -> None:
        self.aim = torch.einsum("bs,schw->bchw", shares, sources)
        self.eta, self.steps = eta, steps

    def predict(self, index: int, point: Point, x0: Tensor) -> Tensor:
        return x0 + self.eta * (self.aim - x0) if index in self.steps else x0
