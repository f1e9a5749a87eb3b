"""Inversion-free editing (Xu et al., arXiv 2312.04965, algorithm 2)."""

from __future__ import annotations

import torch

from editkit import Edit, Session, VirtualInversion, invert_latents, sample_from_inversion, start_at

from . import FewStepEditParams


def few_step_edit(session: Session, params: FewStepEditParams) -> Edit:
    """Draw the noised picture under both prompts side by side, the source branch held to the picture.

    At strength 0 there is no step to take.
    """
    path = start_at(session.schedule, session.drawing_path(params.steps), params.strength)
    if len(path) == 1:
        return Edit(session.latents, reconstructed=session.latents, inverted=True)
    inverter = VirtualInversion()
    climb = invert_latents(session, inverter, session.latents, path, session.embed(params.source))
    noisy = torch.cat([climb.trajectory[0], climb.trajectory[0]])
    both = sample_from_inversion(
        session, inverter, climb, noisy, session.embed(params.source, params.target), torch.ones(2, 1)
    )
    return Edit(both[1:], reconstructed=both[:1], inverted=True)
