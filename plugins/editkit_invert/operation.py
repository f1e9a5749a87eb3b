"""An inversion and its replay, as two operations."""

from __future__ import annotations

import torch

from editkit import (
    DrawingParams,
    Edit,
    Inversion,
    Session,
    invert_latents,
    recorded_inversion,
    sample_from_inversion,
    to_inversion,
)

from . import InvertParams


def invert(session: Session, params: InvertParams) -> Inversion:
    """Invert the image to noise and return the inversion."""
    path = session.inversion_path(params.steps)
    inverter = session.registry.build("inverters", params.method)
    record = invert_latents(session, inverter, session.latents, path, session.embed(params.prompt))
    return to_inversion(session, record, params.method, params.prompt)


def reconstruct(session: Session, params: DrawingParams) -> Edit:
    """Replay a recorded inversion under its own prompt; the result is the decoded image, without the source's detail.

    Raises InvalidParameter if the inversion was made with another model.
    """
    inversion = session.inversion
    assert inversion is not None
    inverter = session.registry.build("inverters", inversion.method)
    record = recorded_inversion(session, inversion)
    latents = sample_from_inversion(
        session,
        inverter,
        record,
        record.trajectory[0],
        session.embed(inversion.prompt),
        torch.ones(1, 1, dtype=torch.float32, device="cpu"),
    )
    return Edit(latents, reconstructed=latents, inverted=True, carry=False)
