"""Editing without inversion (Kulikov et al., arXiv 2412.08629): the picture is noised, and what is kept is an edit.

The network sees the picture and the picture with its edit in the same noise, each under its own prompt. By the
sampler's own step the difference of both estimates moves the difference of both latents, which begins at nothing. In
these terms, of points and not of velocities, the paper's equations hold for every model: its own for rectified flow.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from editkit import (
    Condition,
    Control,
    Edit,
    Guidance,
    InversionRecord,
    PinnedSource,
    SamplingPath,
    Session,
    SupportsDistilledGuidance,
    VirtualInversion,
    invert_latents,
    repeat_condition,
    require,
    sample_from_inversion,
    start_at,
)

from . import FlowEditParams


class SharedEdit(VirtualInversion):
    """The S sources are one picture in S noises, and the S rows after them have one edit."""

    def controls(self, climb: InversionRecord, shares: Tensor) -> Sequence[Control]:
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
    noises, inverter = params.averages, SharedEdit()
    source, target = (repeat_condition(session.embed(prompt), noises) for prompt in (params.source, params.target))
    climb = invert_latents(session, inverter, session.latents.repeat(noises, 1, 1, 1), path, source)
    start = torch.cat([climb.trajectory[0], climb.trajectory[0]])
    guidance = _edit_guidance(session, params, source, target, path)
    drawn = sample_from_inversion(session, inverter, climb, start, guidance, torch.eye(noises).repeat(2, 1))
    return Edit(drawn[noises : noises + 1], reconstructed=drawn[:1])


def _edit_guidance(
    session: Session, params: FlowEditParams, source: Condition, target: Condition, path: SamplingPath
) -> Guidance:
    """The network under the prompts' conditions of as many rows each, guided by the scale that is each one's."""
    here, there, both = params.source_guidance, params.guidance, _concatenate(source, target)
    if here is None:
        return session.guided(both, 2 * params.averages, path)
    if "distilled-guidance" in session.model.provides:
        at_scale = require(session.model, SupportsDistilledGuidance).with_guidance_scale
        return session.weighted((_concatenate(at_scale(source, here), at_scale(target, there)), both), (1.0, 0.0), path)
    negative = {**source, **repeat_condition(session.embed(params.negative_prompt), params.averages)}
    # All rows have the same weights: where the scales part, the rows of the source have the negative prompt once more.
    conditions = _concatenate(negative, negative), _concatenate(negative, target), both
    return session.weighted(conditions, (1 - there, there - here, here), path)


def _concatenate(first: Condition, second: Condition) -> Condition:
    """The rows of one condition and then those of another."""
    return {name: torch.cat([first[name], second[name]]) for name in first}
