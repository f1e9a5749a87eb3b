"""What is installed, by name."""

from __future__ import annotations

from .registry import installed
from .specs import AnnotatorSpec, InverterSpec, ModelSpec, OperationSpec, SamplerSpec


def operations() -> dict[str, OperationSpec]:
    """Edits a user can ask for."""
    return dict(installed().specs["operations"])


def inverters() -> dict[str, InverterSpec]:
    """Ways from a picture up to noise."""
    return dict(installed().specs["inverters"])


def samplers() -> dict[str, SamplerSpec]:
    """Ways from noise down to a picture."""
    return dict(installed().specs["samplers"])


def models() -> dict[str, ModelSpec]:
    """Models with a name of their own."""
    return dict(installed().specs["models"])


def annotators() -> dict[str, AnnotatorSpec]:
    """Ways from a picture to a condition map."""
    return dict(installed().specs["annotators"])
