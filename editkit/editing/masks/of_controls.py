"""Masks that controls found in an edit."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ...images.masks.tensors import mask_image
from ...sampling.params import DrawingParams
from ..framing.frame import Framing
from ..params import EditParams
from ..session import Session


def masks_of_controls(session: Session, framing: Framing | None) -> dict[str, Image.Image]:
    """Return the masks that the controls of a session found, by their calls in ``attach``.

    They are in mode L and of the size of the image, also where a ``framing`` limits the session to a region. The mask
    of an edit that acted in no step marks nothing. Of a call that is given twice, the second has a number.
    """
    places = _finding(session)
    found = _found_in(session, places)
    if isinstance(session.params, EditParams):
        found = dict.fromkeys(places, torch.zeros_like(session.pixels[:1, :1])) | found
    masks: dict[str, Image.Image] = {}
    for place, mask in sorted(found.items()):
        call = places[place]
        number = sum(other == call for index, other in places.items() if index <= place)
        name = call if number == 1 else f"{call} ({number})"
        masks[name] = mask_image(framing.whole_mask(mask) if framing else mask)
    return masks


def warn_of_missed_masks(session: Session) -> None:
    """Warn of controls that act inside a mask of their own which marks nothing of what the edit changes."""
    for place, call in _finding(session).items():
        reached = list(_reach(session, place))
        if reached and not any(reached):
            where = "" if session.mask is None else " inside the mask of the edit"
            session.usage.warn(f"attach={call!r} has no effect: the mask that it finds marks nothing{where}")


def _reach(session: Session, place: int) -> Iterator[bool]:
    """Yield whether a mask that a control found marks a place that its session changes."""
    for controls in session.controls.values():
        mask = controls[place].found_mask()
        if mask is not None:
            change = session.latent_mask
            yield bool((mask if change is None else mask * change.to(mask)).any())
    for region, _ in session.regions:
        yield from _reach(region, place)


def _finding(session: Session) -> dict[int, str]:
    """Return the calls of the controls that find masks, by their place in ``attach``."""
    calls = session.params.controls if isinstance(session.params, DrawingParams) else ()
    configure = session.registry.configure
    return {place: call for place, call in enumerate(calls) if configure("controls", call)[0].finds_mask}


def _found_in(session: Session, places: dict[int, str]) -> dict[int, Tensor]:
    """Return the masks (1, 1, H, W) that controls found in a session or in the regions of its image."""
    found: dict[int, Tensor] = {}
    for controls in session.controls.values():
        for place in places:
            mask = controls[place].found_mask()
            if mask is not None:
                found[place] = session.canvas.latents_to_image(mask.cpu())
    for region, (left, top) in session.regions:
        height, width = session.pixels.shape[-2:]
        for place, mask in _found_in(region, places).items():
            right, bottom = width - left - mask.shape[-1], height - top - mask.shape[-2]
            found[place] = F.pad(mask, (left, right, top, bottom))
    return found
