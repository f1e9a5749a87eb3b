"""Edit-friendly DDPM inversion: a sampled trajectory and the noise that explains it (arXiv 2304.06140)."""

from __future__ import annotations

import dataclasses as dc
import itertools
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from editkit import (
    Condition,
    Control,
    Denoiser,
    Guidance,
    InversionContext,
    InversionRecord,
    Inverter,
    Noise,
    PinnedSource,
    Point,
    PointBatch,
    RecordedEstimates,
    SamplingPath,
    Stepper,
    add_noise,
    ddim_step,
    ddpm_noise_std,
)

MAX_VALUES_PER_CALL = 2**17
"""Maximum latent values in one network call on a CPU; larger calls are not faster."""
_ACTIVATIONS_PER_LATENT = 8192
"""Estimated activation values per latent value, which bound the size of a network call on a GPU."""

WHOLE = 1e-6
"""Difference of a share of the steps to whole ones that is rounding of binary fractions."""


class EditFriendly(Inverter):
    """Noise the image independently at every point, then solve for DDPM's noise in between (arXiv 2304.06140).

    This is the paper's algorithm 1. The recovered noise has a higher variance than DDPM noise and encodes image
    structure, which therefore survives a change of prompt. In the first ``skip`` of a replay all rows follow the
    recorded trajectory of the sources.
    """

    def __init__(self, skip: float) -> None:
        self.skip = skip

    def first_step(self, path: SamplingPath) -> int:
        """Return the index of the first step that is sampled; that of the last point if none is."""
        steps = len(path) - 1
        return steps if self.skip == 1 else min(round(self.skip * steps), steps - 1)

    def idle_options(self, path: SamplingPath) -> Iterator[str]:
        first, steps = self.first_step(path), len(path) - 1
        if self.skip and not first:
            yield (
                f"edit-friendly:skip={self.skip:g} has no effect: that share of {steps} steps is less than one; take "
                "more steps"
            )
        elif abs(self.skip * steps - first) > WHOLE:
            yield (
                f"edit-friendly:skip={self.skip:g} follows the source for {first} of {steps} steps, as steps are whole"
            )

    def invert(self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None) -> Iterator[Tensor]:
        assert noise is not None, "edit-friendly inversion needs a noise source"
        for point in path[1:]:
            yield add_noise(x0, noise(), point)

    def compute_extras(
        self, context: InversionContext, record: InversionRecord, condition: Condition
    ) -> Mapping[str, Tensor]:
        """Solve for the noise (S, N, C, h, w) of the N sampled steps, guided as the replay will be.

        The network's x0 estimates under each of K conditions, (S, N, K, C, h, w), are stored too, unless guidance has
        an interval: then K differs from step to step.
        """
        path = record.path[self.first_step(record.path) :]
        if len(path) == 1:
            return {"noise": record.trajectory[:0].transpose(0, 1).contiguous()}
        trajectory = record.trajectory[self.first_step(record.path) :]
        guidance = context.guided(condition, record.trajectory.shape[1], record.path)
        calls: list[Tensor] = []

        def network(x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
            calls.append(guidance.network(x, point, condition))
            return calls[-1]

        recording = dc.replace(guidance, network=network)
        estimates = context.track(_estimate(recording, trajectory[:-1], path[:-1]), len(path) - 1, "fitting")
        steps = zip(itertools.pairwise(trajectory), estimates, itertools.pairwise(path), strict=True)
        noise = torch.stack([noise_between(x, after, x0, p, q) for (x, after), x0, (p, q) in steps], 1)
        if not all(guidance.active_at(point) for point in path[:-1]):
            return {"noise": noise}
        # One call has the rows of K conditions, N steps and S sources, in this order.
        estimated = [x0.view(len(guidance.active_conditions), -1, len(noise), *x0.shape[1:]) for x0 in calls]
        return {"noise": noise, "estimates": torch.cat(estimated, 1).transpose(0, 2)}

    def recorded_estimates(
        self, record: InversionRecord, conditions: Sequence[Condition]
    ) -> Sequence[RecordedEstimates]:
        if "estimates" not in record.extras:
            return ()
        first = self.first_step(record.path)
        estimates = record.extras["estimates"].unbind(2)
        return [RecordedEstimates(*pair, first) for pair in zip(conditions, estimates, strict=True)]

    def controls(self, record: InversionRecord, shares: Tensor) -> Sequence[Control]:
        noise = torch.einsum("bs,sn...->nb...", shares, record.extras["noise"])
        # The source is pinned too: rounding depends on the batch size, and its errors accumulate along the path.
        return _RecordedNoise(noise, self.first_step(record.path)), PinnedSource(record.trajectory, shares)

    def replay_stepper(self, record: InversionRecord, shares: Tensor) -> Stepper:
        skipped = record.trajectory[1 : self.first_step(record.path) + 1]
        return _DdpmStepper(torch.einsum("bs,ns...->nb...", shares, skipped))


class _RecordedNoise(Control):
    """Supply noise (N, B, C, h, w) for N steps, starting with the step of index ``first``."""

    exclusive_over = frozenset({"the noise of each step"})

    def __init__(self, steps_noise: Tensor, first: int) -> None:
        self.steps_noise, self.first = steps_noise, first

    def noise(self, index: int) -> Tensor | None:
        return self.steps_noise[index - self.first] if index >= self.first else None


class _DdpmStepper:
    """DDPM steps after N recorded ones; ``recorded`` (N, B, C, h, w) holds the latents after each of these."""

    def __init__(self, recorded: Tensor) -> None:
        self.recorded: Iterator[Tensor] = iter(recorded)

    def __call__(self, denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
        after = next(self.recorded, None)
        if after is not None:
            return after
        fresh = ddpm_noise_std(p, q)
        return ddim_step(x, denoise(x, p), p, q, fresh) + fresh * noise()


def noise_between(x: Tensor, after: Tensor, x0: Tensor, p: Point, q: Point) -> Tensor:
    """Noise with which DDPM's step from ``x`` at p, with the estimate x0, ends at ``after`` at q."""
    fresh = ddpm_noise_std(p, q)
    if fresh == 0.0:  # a step to zero noise, or of zero length, adds none
        return torch.zeros_like(x)
    return (after - ddim_step(x, x0, p, q, fresh)) / fresh


def _estimate(guidance: Guidance, latents: Tensor, points: SamplingPath) -> Iterator[Tensor]:
    """Yield x0 estimates (S, C, h, w) of latents (N, S, C, h, w) at N points, many points per network call.

    A call that runs out of GPU memory is repeated with half of the points.
    """
    steps, start = _steps_per_call(latents[0], len(guidance.active_conditions)), 0
    while start < len(latents):
        part = slice(start, start + steps)
        try:
            x0 = _estimate_in_one_call(guidance, latents[part], points[part])
        except torch.cuda.OutOfMemoryError:
            if steps == 1:
                raise
            steps = (steps + 1) // 2
        else:
            yield from x0
            start += len(x0)


def _estimate_in_one_call(guidance: Guidance, latents: Tensor, points: SamplingPath) -> Tensor:
    """X0 estimates (N, S, C, h, w) of latents of the same shape at N points, in one network call."""
    conditions = [{name: torch.cat([tensor] * len(latents)) for name, tensor in c.items()} for c in guidance.conditions]
    rows = PointBatch(tuple(point for point in points for _ in range(latents.shape[1])))
    return dc.replace(guidance, conditions=conditions)(latents.flatten(0, 1), rows).view_as(latents)


def _steps_per_call(latents: Tensor, conditions: int) -> int:
    """Number of steps of latents (S, C, h, w) that one network call under ``conditions`` conditions may hold."""
    limit = MAX_VALUES_PER_CALL
    if latents.device.type == "cuda":
        unused = torch.cuda.memory_reserved(latents.device) - torch.cuda.memory_allocated(latents.device)
        free = torch.cuda.mem_get_info(latents.device)[0] + unused
        limit = free // (_ACTIVATIONS_PER_LATENT * latents.element_size())
    return max(1, limit // (conditions * latents.numel()))
