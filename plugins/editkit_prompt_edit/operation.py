"""Editing by inversion, from a source prompt to a target prompt."""

from __future__ import annotations

from editkit import Edit, Session, reprompt

from . import PromptEditParams


def prompt_edit(session: Session, params: PromptEditParams) -> Edit:
    """Invert the image under the source prompt and sample it again under the target prompt."""
    prompts = params.source, params.target
    return reprompt(session, params.inverter, params.steps, *prompts, strength=params.strength)
