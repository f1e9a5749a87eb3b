"""Sampling from pure noise."""

from __future__ import annotations

from editkit import Edit, Session

from . import GenerateParams


def generate(session: Session, params: GenerateParams) -> Edit:
    """Sample the whole path from noise."""
    return Edit(session.draw(session.noise(), session.drawing_path(params.steps), session.embed(params.prompt)))
