"""Inversion-free editing (Xu et al., arXiv 2312.04965, algorithm 2)."""

from __future__ import annotations

import torch

from editkit import Edit, Session, VirtualInversion, invert_latents, sample_from_inversion, start_at

from . import FewStepEditParams


def few_step_edit(session: Session, params: FewStepEditParams) -> Edit:
    """Sample the noised image under both prompts side by side, with the source branch pinned to the image.

    Strength 0 leaves no step and returns the source.
    """
    path = start_at(session.schedule, session.drawing_path(params.steps), params.strength)
    if len(path) == 1:
        return Edit(session.latents, reconstructed=session.latents, inverted=True)
    inverter = VirtualInversion()
    record = invert_latents(session, inverter, session.latents, path, session.embed(params.source))
    noisy = torch.cat([record.trajectory[0], record.trajectory[0]])
    both = sample_from_inversion(
        session,
        inverter,
        record,
        noisy,
        session.embed(params.source, params.target),
        torch.ones(2, 1, dtype=torch.float32, device="cpu"),
    )
    return Edit(both[1:], reconstructed=both[:1], inverted=True)
