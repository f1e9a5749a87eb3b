"""Controlled inversion of rectified flow, whose paths are lines ``alpha + sigma == 1`` (arXiv 2410.10792)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from editkit import (
    Control,
    Denoiser,
    InversionRecord,
    Inverter,
    Noise,
    Point,
    SamplingPath,
    eps_of,
    steps_between,
)

from .ddim import ddim_transition


class RfControlled(Inverter):
    """Euler's steps, pulled to sampled noise in the inversion, to the source in the replay (arXiv 2410.10792).

    Rout et al. pull velocities towards those that lead straight to a target. On paths with ``alpha + sigma == 1`` this
    equals a pull of the noise estimate (algorithm 1) and of the x0 estimate (algorithm 2).
    """

    def __init__(self, gamma: float, eta: float, start: float, stop: float) -> None:
        self.gamma, self.eta, self.start, self.stop = gamma, eta, start, stop

    def invert(self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None) -> Iterator[Tensor]:
        assert noise is not None, "controlled inversion needs a noise source"
        x, target = x0, noise()
        for p, q in itertools.pairwise(path):
            eps = eps_of(x, denoise(x, p), p)
            x = ddim_transition(x, eps + self.gamma * (target - eps), p, q)
            yield x

    def controls(self, record: InversionRecord, shares: Tensor) -> Sequence[Control]:
        return (_SourcePull(record.trajectory[-1], shares, self.eta, self._pulled(record.path)),)

    def idle_options(self, path: SamplingPath) -> Iterator[str]:
        if self.eta and not self._pulled(path):
            yield (
                f"rf-controlled:eta={self.eta:g} has no effect: none of {len(path) - 1} steps lies whole between the "
                f"fractions {self.start:g} and {self.stop:g} of the path; take more steps, or a larger stop"
            )

    def _pulled(self, path: SamplingPath) -> range:
        """Return the numbers of the steps of a replay that are pulled to the source."""
        return steps_between(len(path) - 1, self.start, self.stop, whole=True)


class _SourcePull(Control):
    """Move the x0 estimates of some steps towards the sources by the fraction ``eta``.

    ``sources`` is (S, C, h, w), ``shares`` (B, S) the weights of the sources in each of B rows, and ``steps`` the
    indices of the steps.
    """

    def __init__(self, sources: Tensor, shares: Tensor, eta: float, steps: range) -> None:
        self.target = torch.einsum("bs,schw->bchw", shares, sources)
        self.eta, self.steps = eta, steps

    def predict(self, index: int, point: Point, x0: Tensor) -> Tensor:
        return x0 + self.eta * (self.target - x0) if index in self.steps else x0
