"""Masks that controls found in an edit."""

from __future__ import annotations

from PIL import Image

from ...images.masks.tensors import mask_image
from ...sampling.params import DrawingParams
from ..framing.frame import Framing
from ..session import Session


def masks_of_controls(session: Session, framing: Framing | None) -> dict[str, Image.Image]:
    """Return the masks that the controls of a session found, by their calls in ``attach``.

    They are in mode L and of the size of the image, also where a ``framing`` limits the session to a region.
    """
    found: dict[str, Image.Image] = {}
    calls = session.params.controls if isinstance(session.params, DrawingParams) else ()
    for controls in session.controls.values():
        for call, control in zip(calls, controls, strict=True):
            mask = control.found_mask()
            if mask is not None:
                pixels = session.canvas.latents_to_image(mask.cpu())
                found[call] = mask_image(framing.whole_mask(pixels) if framing else pixels)
    return found
