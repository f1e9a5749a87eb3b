"""Delayed editing with guidance that differs from place to place (UniEdit-Flow, Jiao et al., arXiv 2504.13109).

The image is inverted up to a part of the path, by default with Uni-Inv, which is the inverter ``ddim-corrected``. On
the way down the same latents are evaluated under both prompts. With the mean difference of both estimates over the
channels, ``m`` from 0 where it is least to 1 where it is largest, a step goes along::

    m v_target + (1 - m) v_source + omega (1 + m) (v_target - v_source)

As the weights add to 1, this holds for estimates of x0 as for velocities, and for every schedule.

The source is sampled beside the edit, so that equal prompts change nothing: one evaluation a step more than in the
paper.
"""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Sequence

import torch
from torch import Tensor

from editkit import (
    Edit,
    Inverter,
    Point,
    PointBatch,
    Session,
    invert_latents,
    sample_from_inversion,
    stack_conditions,
    start_at,
)

from . import UniEditParams
from .guidance import DistinctRows


def uni_edit(session: Session, params: UniEditParams) -> Edit:
    """Invert the image up to ``strength`` under the source prompt and sample both branches from there."""
    method: Inverter = session.registry.build("inverters", params.inverter)
    path = start_at(session.schedule, session.inversion_path(params.steps), params.strength)
    if len(path) == 1:
        return Edit(session.latents, reconstructed=session.latents, inverted=True)
    source, target = session.embed(params.source), session.embed(params.target)
    record = invert_latents(session, method, session.latents, path, source)
    conditions = [stack_conditions((source, one)) for one in (source, target)]
    # The rule has weights of its own: these only let both estimates be evaluated.
    guidance = session.weighted(conditions, (0.5, 0.5), path)
    guidance = dc.replace(guidance, rule=_ByDifference(params.guidance))
    if not session.drawing.controls:  # a control may need every row under every condition
        guidance = DistinctRows.of(guidance)
    start, shares = torch.cat([record.trajectory[0]] * 2), torch.ones(2, 1, dtype=torch.float32, device="cpu")
    both = sample_from_inversion(session, method, record, start, guidance, shares)
    return Edit(both[1:], reconstructed=both[:1], inverted=True)


@dc.dataclass(frozen=True)
class _ByDifference:
    """Rule of guidance from the source prompt to the target prompt, stronger where their estimates differ more."""

    omega: float

    def __call__(
        self, estimates: Sequence[Tensor], weights: Sequence[float], x: Tensor, point: Point | PointBatch
    ) -> Tensor:
        source, target = estimates
        change = target - source
        size = change.abs().mean(1, keepdim=True)
        least, most = (limit(size, dim=(1, 2, 3), keepdim=True) for limit in (torch.amin, torch.amax))
        # Equal prompts differ nowhere, and at pure noise estimates may differ alike everywhere, up to rounding.
        share = torch.where(most - least > 1e-6 * most, (size - least) / (most - least), 0.0)
        return source + (share + self.omega * (1 + share)) * change
