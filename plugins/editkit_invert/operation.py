"""An inversion and its replay, as two operations."""

from __future__ import annotations

import torch

from editkit import (
    DrawingParams,
    Edit,
    InvalidParameter,
    Inversion,
    Session,
    full_name,
    invert_latents,
    sample_from_inversion,
    to_inversion,
)

from . import InvertParams


def invert(session: Session, params: InvertParams) -> Inversion:
    """Climb from the picture to noise."""
    path = session.inversion_path(params.steps)
    inverter = session.registry.build("inverters", params.method)
    climb = invert_latents(session, inverter, session.latents, path, session.embed(params.prompt))
    return to_inversion(session, climb, params.method, params.prompt)


def reconstruct(session: Session, params: DrawingParams) -> Edit:
    """Replay a recorded inversion under its own prompt; what comes is what the model drew, not the source's pixels."""
    inversion = session.inversion
    assert inversion is not None
    if inversion.identity != session.model.identity:
        raise InvalidParameter(
            f"the inversion was made with the model {inversion.model!r} ({inversion.identity}), "
            f"not with {full_name(session.model)!r} ({session.model.identity}): pass that one"
        )
    inverter = session.registry.build("inverters", inversion.method)
    climb = inversion.record.to(session.model.device, session.model.dtype)
    drawn = sample_from_inversion(
        session, inverter, climb, climb.trajectory[0], session.embed(inversion.prompt), torch.ones(1, 1)
    )
    return Edit(drawn, reconstructed=drawn, inverted=True, carry=False)
