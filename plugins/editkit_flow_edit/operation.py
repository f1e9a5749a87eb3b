"""Editing without inversion (FlowEdit, Kulikov et al., arXiv 2412.08629).

The network is evaluated on the noised image and on the noised edited image, with the same noise, each under its own
prompt. The sampler's step applied to the difference of both estimates updates the difference of both latents, which
starts at 0. Unlike the paper, which uses velocities, this is written with points (alpha, sigma), so that it holds for
every model; on rectified flow it is the paper's algorithm.

The terminal term is that of FlowAlign (Kim et al., arXiv 2505.23145): a step from sigma to sigma' moves the edit d, the
difference of both latents, by the difference of both estimates of the result too::

    d += (sigma' - sigma) (v_edit - v_source) + terminal (x0_source - x0_edit)

Its weight is that of one step, as in the authors' code. Away from rectified flow the term is scaled by alpha + sigma,
as the latents themselves are.
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
    InvalidParameter,
    InversionRecord,
    PinnedSource,
    Point,
    SamplingPath,
    Session,
    VirtualInversion,
    invert_latents,
    repeat_condition,
    sample_from_inversion,
    stack_conditions,
    start_at,
)

from . import FlowEditParams
from .guidance import DistinctRows


class _SharedEdit(VirtualInversion):
    """Virtual inversion of one image with S noises, whose S edited rows share one edit."""

    def __init__(self, terminal: float) -> None:
        self.terminal = terminal

    def controls(self, record: InversionRecord, shares: Tensor) -> Sequence[Control]:
        return (_AveragedEdit(record, shares, self.terminal),)


class _AveragedEdit(PinnedSource):
    """Control that gives all edited rows the mean of their differences from their sources.

    ``terminal`` weights the pull of the estimated edit towards the estimated source in each step.
    """

    def __init__(self, record: InversionRecord, shares: Tensor, terminal: float) -> None:
        super().__init__(record.trajectory, shares)
        self.points, self.terminal = record.path, terminal
        self.estimated: tuple[int, Tensor] | None = None

    def predict(self, index: int, point: Point, x0: Tensor) -> Tensor:
        # The term takes the estimate at the start of the step; a solver may evaluate further points.
        if self.estimated is None or self.estimated[0] != index:
            self.estimated = index, x0
        return x0

    def after_step(self, index: int, x: Tensor) -> Tensor:
        source = self.trajectory[index + 1]
        edit = _edit_between(x)
        if self.terminal and self.estimated is not None and self.estimated[0] == index:  # a renoising has no estimate
            point = self.points[index + 1]
            edit = edit - self.terminal * (point.alpha + point.sigma) * _edit_between(self.estimated[1])
        return torch.cat([source, source + edit])


def _edit_between(rows: Tensor) -> Tensor:
    """Return the mean difference (C, h, w) of S edited rows from the S source rows before them."""
    sources, edited = rows.chunk(2)
    return (edited - sources).mean(0)


def flow_edit(session: Session, params: FlowEditParams) -> Edit:
    """Edit from the noise level of ``strength`` down; strength 0 leaves no step and returns the source."""
    path = start_at(session.schedule, session.drawing_path(params.steps), params.strength)
    if len(path) == 1:
        return Edit(session.latents, reconstructed=session.latents)
    noises, inverter = params.averages, _SharedEdit(params.terminal)
    source, target = (repeat_condition(session.embed(prompt), noises) for prompt in (params.source, params.target))
    record = invert_latents(session, inverter, session.latents.repeat(noises, 1, 1, 1), path, source)
    start = torch.cat([record.trajectory[0], record.trajectory[0]])
    guidance = _edit_guidance(session, params, source, target, path)
    if not session.drawing.controls:  # a control may need every row under every condition
        guidance = DistinctRows.of(guidance)
    latents = sample_from_inversion(
        session, inverter, record, start, guidance, torch.eye(noises, dtype=torch.float32, device="cpu").repeat(2, 1)
    )
    return Edit(latents[noises : noises + 1], reconstructed=latents[:1])


def _edit_guidance(
    session: Session, params: FlowEditParams, source: Condition, target: Condition, path: SamplingPath
) -> Guidance:
    """Return guidance for as many rows of each prompt, with a guidance scale for each prompt."""
    source_scale, target_scale, both = params.source_guidance, params.guidance, stack_conditions((source, target))
    if source_scale is None:
        return session.guided(both, 2 * params.averages, path)
    at_source = session.at_guidance_scale(source, params.averages, source_scale)
    at_target = session.at_guidance_scale(target, params.averages, target_scale)
    if at_source is not None and at_target is not None:
        if params.negative_guidance != 1:
            raise InvalidParameter(
                f"negative_guidance={params.negative_guidance:g} is not allowed beside source_guidance: leave one out"
            )
        return session.weighted((stack_conditions((at_source, at_target)), both), (1.0, 0.0), path)
    negative = {**source, **repeat_condition(session.embed(params.negative_prompt), params.averages)}
    # All rows share the weights, so that where the two scales differ the source rows repeat the negative prompt.
    conditions = stack_conditions((negative, negative)), stack_conditions((negative, target)), both
    return session.weighted(conditions, (1 - target_scale, target_scale - source_scale, source_scale), path)
