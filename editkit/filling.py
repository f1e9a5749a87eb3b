"""Drawing under a mask with any model, and with those made for it."""

from __future__ import annotations

from typing import cast

from .backends import Inpainter
from .guidance import Condition
from .paths import Path
from .points import add_noise
from .session import Edit, Session


def fill(session: Session, path: Path, prompt: str, *, blank: bool = False) -> Edit:
    """Draw under the session's mask down ``path``, and hold what the mask protects to the source.

    The drawing begins with the source, noised, or where ``blank`` with noise alone. A path of one point leaves the
    source as it is.
    """
    if len(path) == 1:
        return Edit(session.latents, reconstructed=session.latents)
    noise = session.noise()
    start = noise if blank else add_noise(session.latents, noise, path[0])
    condition = {**session.embed(prompt), **masked_view(session)}
    return Edit(session.draw(start, path, condition, noise=noise), reconstructed=session.latents)


def masked_view(session: Session) -> Condition:
    """What a model made for inpainting sees beside the latents; nothing for any other."""
    if "inpainting" not in session.model.provides:
        return {}
    assert session.mask is not None
    # The network takes whole pixels of the canvas, masked or not: any masked pixel counts.
    mask = session.canvas.mask_to_model(session.mask)
    model = cast(Inpainter, session.model)
    return model.see_masked(session.sources, mask.to(session.sources))
