"""Editing by inversion, both prompts given."""

from __future__ import annotations

from editkit import Edit, Session, reprompt

from . import PromptEditParams


def prompt_edit(session: Session, params: PromptEditParams) -> Edit:
    return reprompt(session, params.inverter, params.steps, params.source, params.target)
