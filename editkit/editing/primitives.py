"""Drawing pictures anew, from themselves or from noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from ..diffusion.denoiser import Condition, stack
from ..diffusion.paths import Path
from ..diffusion.points import add_noise
from ..inversion.inverter import Inverter
from ..models.backend import Inpainter
from ..sampling.controls import Control
from ..sampling.guidance import Guidance
from .outcome import Edit
from .session import Session


def redraw(
    session: Session,
    path: Path,
    condition: Condition | Guidance,
    controls: Sequence[Control] = (),
    *,
    blank: bool = False,
) -> Edit:
    """Draw the session's picture anew down ``path`` (Meng et al., arXiv 2108.01073).

    The drawing begins with the source, noised, or where ``blank`` with noise alone; either way what a mask protects is
    held to the source. A path of one point leaves the source as it is.
    """
    if len(path) == 1:
        return Edit(session.latents, reconstructed=session.latents)
    noise = session.noise()
    start = noise if blank else add_noise(session.latents, noise, path[0])
    return Edit(session.draw(start, path, condition, controls, noise=noise), reconstructed=session.latents)


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


def reprompt(
    session: Session, inverter: str, steps: int, source: str, target: str, change: Tensor | None = None
) -> Edit:
    """Invert the session's picture under one prompt and draw it again under both, side by side.

    The source branch tells what the model makes of the picture without an edit; the edit is the difference.
    ``inverter`` is a registered one, with options after a colon; ``change`` (1, 1, h, w) in [0, 1] says where and how
    much the latents may change: as the session's mask does where not given.
    """
    made: Inverter = session.registry.make("inverters", inverter)
    path = session.inversion_path(steps)
    shown, wanted = session.embed(source), session.embed(target)
    climb = session.climb(made, session.latents, path, shown)
    noise = torch.cat([climb.trajectory[0], climb.trajectory[0]])
    both = session.replay(made, climb, noise, stack([shown, wanted]), torch.ones(2, 1), change)
    return Edit(both[1:], reconstructed=both[:1], inverted=True)
