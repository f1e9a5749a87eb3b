"""The inverter that draws the way up and solves for the noise of the way down (arXiv 2304.06140)."""

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

AT_ONCE = 2**17
"""Values of latents that are asked about in one network call on a CPU, which gains nothing from more."""
_ACTIVATIONS_PER_LATENT = 8192
"""Values of a network's activations for each value of its latents, roughly: what a call on a GPU may take of memory."""


class EditFriendly(Inverter):
    """Noises the picture anew for every step, and keeps what noise leads DDPM from one to the next (arXiv 2304.06140).

    Algorithm 1 there. Such noise is larger than what DDPM draws and holds more of the picture, which so comes through
    under another prompt. The first ``skip`` of a replay draws nothing: all rows stay where the sources are.
    """

    def __init__(self, skip: float) -> None:
        self.skip = skip

    def first(self, path: SamplingPath) -> int:
        """The index of the first step that is drawn."""
        return min(round(self.skip * (len(path) - 1)), len(path) - 2)

    def invert(self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None) -> Iterator[Tensor]:
        assert noise is not None, "this climb draws noise"
        for point in path[1:]:
            yield add_noise(x0, noise(), point)

    def compute_extras(
        self, context: InversionContext, climb: InversionRecord, condition: Condition
    ) -> Mapping[str, Tensor]:
        """Solve for the noise (S, N, C, h, w) of the N steps that are drawn, guided as the replay will be.

        What the network said for that under each of K conditions is kept too, (S, N, K, C, h, w), unless guidance has
        an interval: then their number differs from step to step.
        """
        path = climb.path[self.first(climb.path) :]
        trajectory = climb.trajectory[self.first(climb.path) :]
        guidance = context.guided(condition, climb.trajectory.shape[1], climb.path)
        noted: list[Tensor] = []

        def network(x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
            noted.append(guidance.network(x, point, condition))
            return noted[-1]

        listening = dc.replace(guidance, network=network)
        estimates = context.track(_estimate(listening, trajectory[:-1], path[:-1]), len(path) - 1, "fitting")
        steps = zip(itertools.pairwise(trajectory), estimates, itertools.pairwise(path), strict=True)
        noise = torch.stack([noise_between(x, after, x0, p, q) for (x, after), x0, (p, q) in steps], 1)
        if not all(guidance.active_at(point) for point in path[:-1]):
            return {"noise": noise}
        answers = [said.view(len(guidance.active_conditions), -1, len(noise), *said.shape[1:]) for said in noted]
        return {"noise": noise, "estimates": torch.cat(answers, 1).transpose(0, 2)}

    def recorded_estimates(
        self, climb: InversionRecord, conditions: Sequence[Condition]
    ) -> Sequence[RecordedEstimates]:
        if "estimates" not in climb.extras:
            return ()
        under = climb.extras["estimates"].unbind(2)
        return [
            RecordedEstimates(one, said, self.first(climb.path)) for one, said in zip(conditions, under, strict=True)
        ]

    def controls(self, climb: InversionRecord, shares: Tensor) -> Sequence[Control]:
        noise = torch.einsum("bs,sn...->nb...", shares, climb.extras["noise"])
        # Pinned beside that, since a batch of another size rounds otherwise, and errors add up.
        return _RecordedNoise(noise, self.first(climb.path)), PinnedSource(climb.trajectory, shares)

    def replay_stepper(self, climb: InversionRecord, shares: Tensor) -> Stepper:
        skipped = climb.trajectory[1 : self.first(climb.path) + 1]
        return _DdpmStepper(torch.einsum("bs,ns...->nb...", shares, skipped))


class _RecordedNoise(Control):
    """Supplies noise (N, B, C, h, w) for N steps, from the one with the index ``first`` on."""

    exclusive_over = frozenset({"the noise of each step"})

    def __init__(self, recorded: Tensor, first: int) -> None:
        self.recorded, self.first = recorded, first

    def noise(self, index: int) -> Tensor | None:
        return self.recorded[index - self.first] if index >= self.first else None


class _DdpmStepper:
    """Steps of DDPM, after some that give what is known of them: latents (N, B, C, h, w) after N steps."""

    def __init__(self, known: Tensor) -> None:
        self.known: Iterator[Tensor] = iter(known)

    def __call__(self, denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
        after = next(self.known, None)
        if after is not None:
            return after
        fresh = ddpm_noise_std(p, q)
        return ddim_step(x, denoise(x, p), p, q, fresh) + fresh * noise()


def noise_between(x: Tensor, after: Tensor, x0: Tensor, p: Point, q: Point) -> Tensor:
    """The noise with which DDPM's step from ``x`` at p, where x0 is estimated, ends in ``after`` at q."""
    fresh = ddpm_noise_std(p, q)
    if fresh == 0.0:  # a step to zero noise, or of no length, adds none
        return torch.zeros_like(x)
    return (after - ddim_step(x, x0, p, q, fresh)) / fresh


def _estimate(guidance: Guidance, latents: Tensor, points: SamplingPath) -> Iterator[Tensor]:
    """Clean estimates (S, C, h, w) of latents (N, S, C, h, w) at N points, of many of them in one network call.

    A call that asks for more memory than there is left is made again with half of them.
    """
    at_once, begun = _steps_per_call(latents[0], len(guidance.active_conditions)), 0
    while begun < len(latents):
        part = slice(begun, begun + at_once)
        try:
            answers = _estimate_in_one_call(guidance, latents[part], points[part])
        except torch.cuda.OutOfMemoryError:
            if at_once == 1:
                raise
            at_once = (at_once + 1) // 2
        else:
            yield from answers
            begun += len(answers)


def _estimate_in_one_call(guidance: Guidance, latents: Tensor, points: SamplingPath) -> Tensor:
    """The same in one call."""
    conditions = [{name: torch.cat([tensor] * len(latents)) for name, tensor in c.items()} for c in guidance.conditions]
    rows = PointBatch(tuple(point for point in points for _ in range(latents.shape[1])))
    return dc.replace(guidance, conditions=conditions)(latents.flatten(0, 1), rows).view_as(latents)


def _steps_per_call(latents: Tensor, asked: int) -> int:
    """How many steps of latents (S, C, h, w) go into a network call that is asked ``asked`` times about each."""
    most = AT_ONCE
    if latents.device.type == "cuda":
        unused = torch.cuda.memory_reserved(latents.device) - torch.cuda.memory_allocated(latents.device)
        free = torch.cuda.mem_get_info(latents.device)[0] + unused
        most = free // (_ACTIVATIONS_PER_LATENT * latents.element_size())
    return max(1, most // (asked * latents.numel()))
