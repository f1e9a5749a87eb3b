"""Drawing under a mask with any model, and with those made for it."""

from __future__ import annotations

from typing import cast

from .backends import Inpainter
from .guidance import Condition
from .paths import Path
from .redrawing import redraw
from .session import Edit, Session


def fill(session: Session, path: Path, prompt: str, *, blank: bool = False) -> Edit:
    """Draw under the session's mask down ``path``, from the source or where ``blank`` from noise: see :func:`redraw`.

    A model made for inpainting sees what the mask leaves.
    """
    return redraw(session, path, {**session.embed(prompt), **masked_view(session)}, blank=blank)


def masked_view(session: Session) -> Condition:
    """What a model made for inpainting sees beside the latents; nothing for any other."""
    if "inpainting" not in session.model.provides:
        return {}
    assert session.mask is not None
    # The network takes whole pixels of the canvas, masked or not: any masked pixel counts.
    mask = session.canvas.mask_to_model(session.mask)
    model = cast(Inpainter, session.model)
    return model.see_masked(session.sources, mask.to(session.sources))
