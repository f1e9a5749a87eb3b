"""Editing without inversion (Kulikov et al., arXiv 2412.08629): the picture is noised, and what is kept is an edit.

The network sees the picture and the picture with its edit in the same noise, each under its own prompt. By the
sampler's own step the difference of both estimates moves the difference of both latents, which begins at nothing. In
these terms, of points and not of velocities, the paper's equations hold for every model: its own for rectified flow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from editkit import (
    Climb,
    Control,
    Denoiser,
    Edit,
    Inverter,
    Noise,
    Path,
    PinnedSource,
    Session,
    add_noise,
    repeated,
    start_at,
)

from . import FlowEditParams


class Noised(Inverter):
    """In place of a climb, each source in fresh noise at every point; a replay is held to that, as to any climb."""

    def climb(self, denoise: Denoiser, x0: Tensor, path: Path, noise: Noise | None = None) -> Iterator[Tensor]:
        assert noise is not None, "the sources are noised with noise that is drawn"
        for point in path[1:]:
            yield add_noise(x0, torch.cat([noise() for _ in x0]), point)

    def controls(self, climb: Climb, shares: Tensor) -> Sequence[Control]:
        return (PinnedSource(climb.trajectory, shares),)


class NoisedAlike(Noised):
    """The S sources are one picture in S noises, and the S rows after them have one edit."""

    def controls(self, climb: Climb, shares: Tensor) -> Sequence[Control]:
        return (AveragedEdit(climb.trajectory, shares),)


class AveragedEdit(PinnedSource):
    """Moves all edited rows off their sources by what they did on average."""

    def after_step(self, index: int, x: Tensor) -> Tensor:
        wanted = self.trajectory[index + 1]
        edit = (x[len(wanted) :] - x[: len(wanted)]).mean(0)
        return torch.cat([wanted, wanted + edit])


def flow_edit(session: Session, params: FlowEditParams) -> Edit:
    """Enter the path as noisy as ``strength`` says; at strength 0 there is no step to take."""
    path = start_at(session.schedule, session.drawing_path(params.steps), params.strength)
    if len(path) == 1:
        return Edit(session.latents, reconstructed=session.latents)
    noises, inverter = params.averages, NoisedAlike()
    source, target = (repeated(session.embed(prompt), noises) for prompt in (params.source, params.target))
    climb = session.climb(inverter, session.latents.repeat(noises, 1, 1, 1), path, source)
    both = {name: torch.cat([source[name], target[name]]) for name in source}
    start = torch.cat([climb.trajectory[0], climb.trajectory[0]])
    drawn = session.replay(inverter, climb, start, both, torch.eye(noises).repeat(2, 1))
    return Edit(drawn[noises : noises + 1], reconstructed=drawn[:1])
