"""Turn the outcome of an operation into images: size, detail, mask and alpha."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..images.canvas import resize
from ..images.compositing import apply_difference, mix_sources, to_stored_image
from ..images.masks.tensors import mask_opacity
from ..images.stored.image import StoredImage
from ..images.tensors import to_image
from .outcome import Edit, PixelEdit
from .quality import warn_of_autoencoder
from .session import Session


def compose(session: Session, outcome: Edit | PixelEdit) -> list[Image.Image]:
    """Return the resulting images: one for each row of an edit at the size of its sources, or the one in pixels."""
    if isinstance(outcome, PixelEdit):
        if not session.images:
            return [to_image(outcome.pixels[0])]
        if outcome.pixels.shape[-2:] != session.pixels.shape[-2:]:
            return [compose_resized(outcome, session.images[0])]
        pixels, shares = outcome.pixels, torch.ones(1, 1, dtype=torch.float32, device="cpu")
    else:
        pixels, shares = paint(session, outcome), source_shares(outcome)
        if outcome.reconstructed is None or not outcome.carry:
            return [_without_carry(session, row) for row in pixels]
    sources = mix_sources(session.pixels, shares)
    if session.mask is not None:
        # lerp is exact at both ends, so that nothing of the source is left where the mask is full.
        pixels = torch.lerp(sources, pixels, mask_opacity(session.mask))
    return [
        to_stored_image(row, share, source, session.images)
        for row, share, source in zip(pixels, shares, sources, strict=True)
    ]


def paint(session: Session, edit: Edit) -> Tensor:
    """Decode an edit and lay it on its sources' pixels, without the mask; (B, 3, H, W) at the image's size."""
    decoded = session.decode_cached(edit.latents).float().cpu()
    if edit.reconstructed is None or not edit.carry:
        return session.canvas.to_image(decoded).clone()  # decoded pixels may be shared with the session's cache
    reconstructed = session.decode_cached(edit.reconstructed).float().cpu()
    shares = source_shares(edit)
    source, round_trip = mix_sources(session.visible, shares), mix_sources(reconstructed, shares)
    kept = session.kept if edit.kept is None else edit.kept
    if bool((torch.as_tensor(kept, device="cpu") > 0).any()):
        warn_of_autoencoder(session)
    return apply_difference(session.canvas, source, decoded, round_trip, session.mask, kept)


def source_shares(edit: Edit) -> Tensor:
    """Return the share of each source in each row, (B, S)."""
    return (
        torch.ones(len(edit.latents), 1, dtype=torch.float32, device="cpu")
        if edit.shares is None
        else edit.shares.float().cpu()
    )


def _without_carry(session: Session, pixels: Tensor) -> Image.Image:
    """Return decoded pixels (3, H, W) as they are, at the depth and in the profile of the source if there is one."""
    if not session.images:
        return to_image(pixels)
    return StoredImage.of(session.images[0]).with_colours(pixels.permute(1, 2, 0).cpu().numpy()).view()


def compose_resized(edit: PixelEdit, source: Image.Image) -> Image.Image:
    """Return an image whose size differs from its source, with the source's alpha or the source in its place."""
    stored, pixels = StoredImage.of(source), edit.pixels[0].float().cpu()
    if edit.place is not None:
        return _around_source(stored, pixels, edit.place).view()
    if stored.alpha is None:
        return stored.with_colours(pixels.permute(1, 2, 0).numpy()).view()
    alpha = torch.from_numpy(stored.levels[..., 3].astype(np.float32))[None, None]
    height, width = pixels.shape[-2:]
    resized = resize(alpha, (width, height)).round().clamp(0, stored.maximum)[0, 0].numpy()
    # The edited pixels show the image on white: at half the alpha the stored colour is twice as far from white.
    share = np.maximum(resized[..., None], stored.maximum / 255) / stored.maximum
    colours = 1 - (1 - pixels.permute(1, 2, 0).numpy()) / share
    return stored.with_colours(colours, resized.astype(stored.levels.dtype)).view()


def _around_source(stored: StoredImage, pixels: Tensor, place: tuple[int, int]) -> StoredImage:
    """Return pixels (3, H, W) as an opaque image with the source's levels at ``place`` (left, top)."""
    left, top = place
    image = stored.with_colours(pixels.permute(1, 2, 0).numpy())
    image = image if stored.alpha is None else image.with_alpha()
    image.levels[top : top + stored.size[1], left : left + stored.size[0]] = stored.levels
    return image
