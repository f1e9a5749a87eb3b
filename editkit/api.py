"""Python functions for inversion and reconstruction."""

from __future__ import annotations

from typing import Any

from .editing.apply import apply
from .editing.result import Result
from .inversion.inversion import Inversion
from .model.backend import Backend
from .registry.arguments import check_arguments
from .sampling.progress import Progress


@check_arguments()
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
    """Invert an image to the noise from which ``model`` samples it, with the data that a replay needs.

    ``method`` names an inverter, with options after a colon; ``params`` are further parameters of the operation
    ``invert``. Raises an EditkitError as apply does.
    """
    values = {"prompt": prompt, "method": method, "steps": steps, **params}
    inversion: Inversion = apply("invert", image, model=model, progress=progress, cache=cache, **values)
    return inversion


@check_arguments()
def reconstruct(
    inversion: Inversion, *, model: Backend | str | None = None, progress: Progress | None = None, **params: Any
) -> Result:
    """Sample an inverted image again; the report gives its PSNR to the source and the bound set by the autoencoder."""
    result: Result = apply("reconstruct", inversion, model=model, progress=progress, **params)
    return result
