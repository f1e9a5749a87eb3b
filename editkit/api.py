"""The two operations that have functions of their own."""

from __future__ import annotations

from typing import Any

from .editing.apply import apply
from .editing.result import Result
from .editing.session import Progress
from .inversion.inversion import Inversion
from .model.backend import Backend
from .registry.registry import installed
from .registry.specs import AnnotatorSpec, InverterSpec, ModelSpec, OperationSpec, SamplerSpec


def invert(
    image: Any,
    *,
    model: Backend | str | None = None,
    prompt: str = "",
    method: str = "pinned",
    steps: int = 50,
    progress: Progress | None = None,
    cache: bool = True,
    **params: Any,
) -> Inversion:
    """Recover the noise that ``model`` would draw a picture from, with all that is needed to replay it."""
    given = {"prompt": prompt, "method": method, "steps": steps, **params}
    inversion: Inversion = apply("invert", image, model=model, progress=progress, cache=cache, **given)
    return inversion


def reconstruct(
    inversion: Inversion, *, model: Backend | str | None = None, progress: Progress | None = None, **params: Any
) -> Result:
    """Draw an inverted picture again; the report says how near it came to the source and to the autoencoder's bound."""
    result: Result = apply("reconstruct", inversion, model=model, progress=progress, **params)
    return result


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
