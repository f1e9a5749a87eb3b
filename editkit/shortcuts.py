"""The two operations that have functions of their own."""

from __future__ import annotations

from typing import Any

from .backends import Backend
from .edits import apply
from .inversion import Inversion
from .results import Result
from .session import Progress


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
