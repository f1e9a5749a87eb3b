"""Editing by inversion: the picture's own noise, another prompt."""

from __future__ import annotations

import torch

from editkit import Edit, Session

from . import PromptEditParams


def prompt_edit(session: Session, params: PromptEditParams) -> Edit:
    """Draw the source and the target side by side from the noise of the source.

    The source branch tells what the model makes of the picture without an edit; the edit is the difference.
    """
    inverter = session.registry.make("inverters", params.inverter)
    path = session.inversion_path(params.steps)
    trajectory = session.climb(inverter, session.latents, path, session.embed(params.source))
    noise = torch.cat([trajectory[0], trajectory[0]])
    both = session.replay(
        inverter, trajectory, path, noise, session.embed(params.source, params.target), torch.ones(2, 1)
    )
    return Edit(both[1:], reconstructed=both[:1], inverted=True)
