"""From what a model decoded to the picture a user gets: size, detail, mask and alpha as promised for every edit."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..images.canvas import resize
from ..images.compositing import apply_difference, mix_sources, to_stored_image
from ..images.masks import mask_opacity
from ..images.tensors import to_image
from .outcome import Edit, PixelEdit
from .session import Session


def compose(session: Session, outcome: Edit | PixelEdit) -> list[Image.Image]:
    """The resulting pictures: one a row of an edit's latents, of the size of its sources, or the one painted."""
    if isinstance(outcome, PixelEdit):
        if outcome.pixels.shape[-2:] != session.pixels.shape[-2:]:
            return [compose_resized(outcome, session.images[0])]
        laid, shares = outcome.pixels, torch.ones(1, 1)
    else:
        laid, shares = paint(session, outcome), source_shares(outcome)
        if outcome.reconstructed is None or not outcome.carry:
            return [to_image(row) for row in laid]
    seen = mix_sources(session.pixels, shares)
    if session.mask is not None:
        laid = seen + mask_opacity(session.mask) * (laid - seen)
    return [
        to_stored_image(row, share, before, session.images)
        for row, share, before in zip(laid, shares, seen, strict=True)
    ]


def paint(session: Session, edit: Edit) -> Tensor:
    """Decode an edit and lay it on its sources' pixels, (B, 3, H, W) of the picture's size; no mask is applied yet."""
    decoded = session.decode_cached(edit.latents).float().cpu()
    if edit.reconstructed is None or not edit.carry:
        return session.canvas.to_image(decoded).clone()  # what is decoded may be shared, what is painted is not
    trips = session.decode_cached(edit.reconstructed).float().cpu()
    seen, trip = (mix_sources(pixels, source_shares(edit)) for pixels in (session.pixels, trips))
    return apply_difference(session.canvas, seen, decoded, trip, session.mask)


def source_shares(edit: Edit) -> Tensor:
    """How much of each source is in each row, (B, S)."""
    return torch.ones(len(edit.latents), 1) if edit.shares is None else edit.shares.float().cpu()


def compose_resized(painted: PixelEdit, source: Image.Image) -> Image.Image:
    """A picture of another size than its source, with its source's alpha, or its source itself in its place."""
    if painted.place is not None:
        picture = to_image(painted.pixels[0])
        if source.mode == "RGBA":
            picture.putalpha(255)
        picture.paste(source, painted.place)
        return picture
    if source.mode == "RGB":
        return to_image(painted.pixels[0])
    alpha = torch.from_numpy(np.array(source.getchannel("A"), dtype=np.float32))[None, None]
    height, width = painted.pixels.shape[-2:]
    grown = resize(alpha, (width, height)).round().clamp(0, 255)
    # What was painted is seen on white: a pixel of half the alpha has twice the colour that it shows.
    picture = to_image(1 - (1 - painted.pixels[0]) * 255 / grown[0].clamp(min=1))
    picture.putalpha(Image.fromarray(grown[0, 0].byte().numpy()))
    return picture
