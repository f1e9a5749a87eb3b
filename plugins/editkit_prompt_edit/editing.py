"""Editing by inversion, both prompts given."""

from __future__ import annotations

from editkit import Edit, Session, reprompt

from . import PromptEditParams


def prompt_edit(session: Session, params: PromptEditParams) -> Edit:
    steps = session.usual_steps(params.steps, "inversion_steps")
    session.params = params.model_copy(update={"steps": steps})
    return reprompt(session, params.inverter, steps, params.source, params.target)
