"""Editing by inversion: the picture's own noise, another prompt."""

from __future__ import annotations

import torch
from torch import Tensor

from .guidance import stack
from .inversion import Inverter
from .session import Edit, Session


def reprompt(
    session: Session, inverter: str, steps: int, source: str, target: str, change: Tensor | None = None
) -> Edit:
    """Invert the session's picture under one prompt and draw it again under both, side by side.

    The source branch tells what the model makes of the picture without an edit; the edit is the difference.
    ``inverter`` is a registered one, with options after a colon; ``change`` (1, 1, h, w) in [0, 1] says where and how
    much the latents may change: as the session's mask does where not given.
    """
    made: Inverter = session.registry.make("inverters", inverter)
    path = session.inversion_path(steps)
    shown, wanted = session.embed(source), session.embed(target)
    climb = session.climb(made, session.latents, path, shown)
    noise = torch.cat([climb.trajectory[0], climb.trajectory[0]])
    both = session.replay(made, climb, noise, stack([shown, wanted]), torch.ones(2, 1), change)
    return Edit(both[1:], reconstructed=both[:1], inverted=True)
