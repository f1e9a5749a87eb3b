"""Inversion whose replay evaluates the network at the very inputs of the inversion (arXiv 2605.02417)."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from editkit import (
    Condition,
    Control,
    Denoiser,
    InversionRecord,
    Inverter,
    Noise,
    PinnedSource,
    Point,
    RecordedEstimates,
    SamplingPath,
    Stepper,
    eps_of,
    mark_source_rows,
)


class AlignedInverter(Inverter):
    """Euler's steps that are exact one by one, DirectEdit (Yang and Ye, arXiv 2605.02417).

    A step of the inversion evaluates the network on its cleaner latents ``z`` at its noisier point. The replay adds the
    recorded step, cleaner minus noisier latents, to its own latents before the network sees them: for the source that
    is ``z`` again, and the step undoes that of the inversion. Edited rows add the step of their source. On rectified
    flow these are the steps of the paper; on other schedules both estimates move, x0 by alpha and the noise by sigma.

    Unlike the paper, where the source has a guidance scale of its own, all rows share one: what it changes in the
    source is corrected where the edit still equals the source, as in ``pinned``. It is nothing but rounding without
    guidance, and where the negative prompt is the source prompt, as in edits from prompt to prompt.
    """

    def invert(
        self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None
    ) -> Generator[Tensor, None, dict[str, Tensor]]:
        x, estimates = x0, []
        for p, q in itertools.pairwise(path):
            estimates.append(denoise(x, q))
            x = _move(x, x, estimates[-1], q, p, q)
            yield x
        return {"estimates": torch.stack(estimates[::-1], 1)}

    def recorded_estimates(
        self, record: InversionRecord, conditions: Sequence[Condition]
    ) -> Sequence[RecordedEstimates]:
        assert record.condition is not None  # callers check it first
        return [RecordedEstimates(record.condition, record.extras["estimates"], 0, ahead=1)]

    def controls(self, record: InversionRecord, shares: Tensor) -> Sequence[Control]:
        return (PinnedSource(record.trajectory, shares, record.path),)

    def replay_stepper(self, record: InversionRecord, shares: Tensor) -> Stepper:
        return _AlignedStep(record.trajectory, shares)


class _AlignedStep:
    """Step that evaluates the network on latents which the recorded step of their sources is added to.

    ``trajectory`` is (N + 1, S, C, h, w) from noise to clean; the first S of the B rows of ``shares`` (B, S) are the
    sources.
    """

    def __init__(self, trajectory: Tensor, shares: Tensor) -> None:
        self.shares, self.trajectory = shares, trajectory
        self.steps = itertools.count()

    def __call__(self, denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
        index = next(self.steps)
        noisier, cleaner = self.trajectory[index], self.trajectory[index + 1]
        count = len(cleaner)
        step = torch.einsum("bs,schw->bchw", self.shares[count:], cleaner - noisier)
        # The recorded latents are taken as they are: a sum would differ from them by rounding.
        evaluated = torch.cat([cleaner, x[count:] + step])
        mark_source_rows(evaluated, self.trajectory, index + 1)
        return _move(x, evaluated, denoise(evaluated, p), p, p, q)


def _move(x: Tensor, evaluated: Tensor, x0: Tensor, point: Point, p: Point, q: Point) -> Tensor:
    """Move latents from p to q by the estimate of the latents ``evaluated`` at ``point``."""
    return x + (q.alpha - p.alpha) * x0 + (q.sigma - p.sigma) * eps_of(evaluated, x0, point)
