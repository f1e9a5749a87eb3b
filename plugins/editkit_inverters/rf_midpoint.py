"""Inverters for rectified flow alone, whose paths are lines ``alpha + sigma == 1`` with the velocity ``eps - x0``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from editkit import Climb, Control, Denoiser, Inverter, Noise, Path, Point, Stepper, eps_of, from_x0, walk

from .ddim import moved


class MidpointStep:
    """A midpoint step that reaches its middle by the velocity of the last middle (Deng et al., arXiv 2412.07517).

    Only the first step of a walk asks the network twice; the order stays 2, since a middle may be off by the second
    order of a step.
    """

    def __init__(self) -> None:
        self.velocity: Tensor | None = None

    def __call__(self, denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
        if self.velocity is None:
            self.velocity = velocity(denoise, x, p)
        middle = Point((p.alpha + q.alpha) / 2, (p.sigma + q.sigma) / 2)
        self.velocity = velocity(denoise, x + (middle.sigma - p.sigma) * self.velocity, middle)
        return x + (q.sigma - p.sigma) * self.velocity


def velocity(denoise: Denoiser, x: Tensor, point: Point) -> Tensor:
    """What the network says latents (B, C, h, w) move by as sigma grows; ``point.sigma`` must not be 0."""
    return from_x0("flow_prediction", denoise(x, point), x, point)


class Midpoint(Inverter):
    """The same second-order steps up and down."""

    def climb(self, denoise: Denoiser, x0: Tensor, path: Path, noise: Noise | None = None) -> Iterator[Tensor]:
        return walk(MidpointStep(), denoise, x0, path, noise=noise)

    def stepper(self, climb: Climb, shares: Tensor) -> Stepper:
        return MidpointStep()


class Controlled(Inverter):
    """Euler's steps, pulled upward to one drawn noise and downward to the source (Rout et al., arXiv 2410.10792).

    The paper pulls velocities to those that lead straight to an aim. On a line that is to pull the noise that a step
    goes along (algorithm 1), and the clean estimate that it goes to (algorithm 2).
    """

    def __init__(self, gamma: float, eta: float, start: float, stop: float) -> None:
        self.gamma, self.eta, self.start, self.stop = gamma, eta, start, stop

    def climb(self, denoise: Denoiser, x0: Tensor, path: Path, noise: Noise | None = None) -> Iterator[Tensor]:
        assert noise is not None, "this climb is pulled to a noise that is drawn"
        x, aim = x0, noise()
        for p, q in itertools.pairwise(path):
            eps = eps_of(x, denoise(x, p), p)
            x = moved(x, eps + self.gamma * (aim - eps), p, q)
            yield x

    def controls(self, climb: Climb, shares: Tensor) -> Sequence[Control]:
        steps = len(climb.path) - 1
        pulled = range(round(self.start * steps), round(self.stop * steps))
        return (PulledToSource(climb.trajectory[-1], shares, self.eta, pulled),)


class PulledToSource(Control):
    """Pulls the clean estimates of some steps towards the sources by the share ``eta``.

    ``sources`` is (S, C, h, w), ``shares`` (B, S) what each of B rows has of them; ``steps`` are the indices.
    """

    def __init__(self, sources: Tensor, shares: Tensor, eta: float, steps: range) -> None:
        self.aim = torch.einsum("bs,schw->bchw", shares, sources)
        self.eta, self.steps = eta, steps

    def predict(self, index: int, point: Point, x0: Tensor) -> Tensor:
        return x0 + self.eta * (self.aim - x0) if index in self.steps else x0
