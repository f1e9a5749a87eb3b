"""Turn the outcome of an operation into images: size, detail, mask and alpha."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ...images.blending.compositing import apply_difference, mix_sources, to_stored_image
from ...images.blending.faint_changes import VISIBLE, gate_weight, smoothed_change
from ...images.canvas import resize
from ...images.masks.tensors import mask_opacity
from ...images.stored.image import StoredImage
from ...images.stored.transparency import (
    CLEAR,
    CONTOUR,
    MOST_CONTOUR,
    add_change,
    drawn_share,
    far_from_transparency,
    resized_colours,
)
from ...images.tensors import to_image
from ..outcome import Edit, PixelEdit
from ..params import GatedParams
from ..session import Session
from .quality import warn_of_autoencoder

_DRAWN = 0.25
"""Difference to white from which a pixel counts as drawn."""
_HIDDEN = 0.05
"""Pixels drawn under transparency, relative to the visible ones, from which they are named."""


def compose(session: Session, outcome: Edit | PixelEdit) -> list[Image.Image]:
    """Return the resulting images: one for each row of an edit at the size of its sources, or the one in pixels."""
    if isinstance(outcome, PixelEdit):
        if not session.images:
            return [to_image(outcome.pixels[0])]
        if outcome.pixels.shape[-2:] != session.pixels.shape[-2:]:
            return [compose_resized(outcome, session.images[0])]
        pixels, shares = outcome.pixels, torch.ones(1, 1, dtype=torch.float32, device="cpu")
    else:
        pixels, shares = paint(session, outcome), _source_shares(outcome)
        if not _is_carried(outcome) and len(session.images) != 1:
            return [_without_carry(session, row) for row in pixels]
    sources = mix_sources(session.pixels, shares)
    painted = None
    if session.mask is not None:
        # lerp is exact at both ends, so that nothing of the source is left where the mask is full.
        painted = _painted_share(session, outcome, pixels)
        pixels = torch.lerp(sources, pixels, mask_opacity(session.mask))
    else:
        _warn_of_hidden_drawing(session, pixels)
    replaced = _replaced(session, outcome, painted)
    return [
        to_stored_image(row, share, source, session.images, painted, _contour_reach(session), replaced)
        for row, share, source in zip(pixels, shares, sources, strict=True)
    ]


def _warn_of_hidden_drawing(session: Session, pixels: Tensor) -> None:
    """Warn if an edit (B, 3, H, W) draws where its source is clear, and stays so since alpha is kept."""
    alpha = StoredImage.of(session.images[0]).alpha
    if alpha is None or len(session.images) > 1:
        return
    # A model's edges are not exactly in their places.
    clear = far_from_transparency(1 - alpha, 2 * _contour_reach(session))[..., 0]
    drawn = clear & (1 - pixels.amin(1).numpy() > _DRAWN)
    if drawn.mean() > _HIDDEN * (alpha > CLEAR).mean():
        session.usage.warn(
            "the edit draws where the image is transparent, which is kept, so that part of it is not shown; a mask "
            "over it makes it visible"
        )


def _contour_reach(session: Session) -> int:
    """Return the width in pixels of the contours of transparent sources: a few pixels of the image and of the model."""
    return min(max(CONTOUR, math.ceil(2 / session.canvas.scale)), MOST_CONTOUR)


def _kept(session: Session, outcome: Edit | PixelEdit) -> Tensor | float:
    """Return the share in [0, 1] of the sources' detail that an outcome keeps, a number or (1, 1, H, W)."""
    return session.kept if outcome.kept is None else outcome.kept


def _is_carried(edit: Edit) -> bool:
    """Whether an edit is laid on the pixels of its sources."""
    return edit.reconstructed is not None and edit.carry


def _replaced(session: Session, outcome: Edit | PixelEdit, painted: Tensor | None) -> Tensor | None:
    """Return the pixels (1, H, W) of which nothing of the source is left; None for several sources."""
    if len(session.images) > 1 or (painted is None and StoredImage.of(session.images[0]).alpha is not None):
        return None
    kept = _kept(session, outcome)
    if isinstance(outcome, Edit) and not _is_carried(outcome):
        kept = 0.0
    erased = torch.as_tensor(kept, device="cpu") == 0
    whole = torch.ones_like(session.pixels[0, :1]) if session.mask is None else mask_opacity(session.mask)[0]
    return (whole == 1) & (erased[0] if erased.ndim else erased)


def _painted_share(session: Session, outcome: Edit | PixelEdit, pixels: Tensor) -> Tensor | None:
    """Return the share (1, H, W) of the source's transparent parts that a masked edit paints over; None if opaque.

    An edit that samples from noise paints over all of them under the mask, and another one where it draws something.
    """
    assert session.mask is not None
    alpha = StoredImage.of(session.images[0]).alpha
    if alpha is None or len(session.images) > 1:
        return None
    opacity = mask_opacity(session.mask)[0]
    if float(torch.as_tensor(_kept(session, outcome), device="cpu").min()) == 0:
        return opacity
    ground = (alpha[..., 0] <= CLEAR) & (opacity[0].numpy() == 0)
    drawn = drawn_share(pixels[0].permute(1, 2, 0).numpy().clip(0, 1), alpha, ground)
    return opacity * torch.from_numpy(drawn).permute(2, 0, 1)


def paint(session: Session, edit: Edit) -> Tensor:
    """Decode an edit and lay it on its sources' pixels, without the mask; (B, 3, H, W) at the image's size."""
    decoded = session.pixel_cache.on_host(session.decode_cached(edit.latents))
    if edit.reconstructed is None or not edit.carry:
        return session.canvas.to_image(decoded).clone()  # decoded pixels may be shared with the session's cache
    shares = _source_shares(edit)
    source = mix_sources(session.visible, shares)
    kept = _kept(session, edit)
    if not bool((torch.as_tensor(kept, device="cpu") > 0).any()):
        # An edit that starts from noise everywhere takes no difference to the autoencoder's source: none is decoded.
        return apply_difference(session.canvas, source, decoded, decoded, session.mask, kept)
    reconstructed = session.pixel_cache.on_host(session.decode_cached(edit.reconstructed))
    if edit.changes:
        warn_of_autoencoder(session)
    unedited = mix_sources(reconstructed, shares)
    pixels = apply_difference(session.canvas, source, decoded, unedited, session.mask, kept)
    gate = session.params.gate if isinstance(session.params, GatedParams) else 0.0
    return _leave_out_faint(session, source, pixels, decoded - unedited, kept, gate) if gate else pixels


def _leave_out_faint(
    session: Session, source: Tensor, pixels: Tensor, change: Tensor, kept: Tensor | float, gate: float
) -> Tensor:
    """Return an edit (B, 3, H, W) without the faint part of its ``change`` (B, 3, h, w), and record that part."""
    opacity = torch.ones((), device="cpu") if session.mask is None else mask_opacity(session.mask)
    size = smoothed_change(session.canvas, session.canvas.crop(change))
    # lerp is exact at both ends, so that a pixel whose change is left out is the source's.
    gated = torch.lerp(source, pixels, gate_weight(size, gate, kept, opacity))
    before, after = (opacity * (one - source).abs().amax(1, keepdim=True) > VISIBLE for one in (pixels, gated))
    session.left_out = before & ~after
    return gated


def _source_shares(edit: Edit) -> Tensor:
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
    stored, pixels = StoredImage.of(source), edit.pixels[0].float().cpu().permute(1, 2, 0).numpy()
    if edit.place is not None:
        return _around_source(stored, pixels, edit.place).view()
    if stored.alpha is None:
        return stored.with_colours(pixels).view()
    return _resize_transparent(stored, stored.alpha, pixels, edit.plain).view()


def _resize_transparent(
    stored: StoredImage, alpha: NDArray[np.float32], pixels: NDArray[np.float32], plain: Tensor | None
) -> StoredImage:
    """Return pixels (H, W, 3) on white as an image with the enlarged alpha of its source.

    Colours are enlarged premultiplied, and the difference of the pixels to the ``plain`` enlargement on white is added.
    """
    size = (pixels.shape[1], pixels.shape[0])
    scale = math.ceil(size[0] / stored.size[0])
    colours = stored.colours()
    new_alpha, premultiplied, straight = (_resample(part, size) for part in (alpha, alpha * colours, colours))
    on_white = premultiplied + (1 - new_alpha)
    # The quotient is taken before clipping: alpha and premultiplied colours overshoot together at an edge.
    base, new_alpha = resized_colours(straight, premultiplied, new_alpha), new_alpha.clip(0, 1)
    if plain is not None:
        enlarged = plain[0].float().cpu().permute(1, 2, 0).numpy()
        # Beside an edge the plain enlargement holds some of the white.
        inside = far_from_transparency(new_alpha, 2 * CONTOUR * scale)
        base, on_white = np.where(inside, enlarged, base), enlarged
    base, new_alpha = add_change(base, new_alpha, pixels - on_white, reach=CONTOUR * scale)
    return stored.with_colours(base, stored.levels_of(new_alpha))


def _resample(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resample (H, W, C) to ``size`` (width, height)."""
    tensor = torch.from_numpy(np.ascontiguousarray(values)).permute(2, 0, 1)[None]
    return resize(tensor, size)[0].permute(1, 2, 0).numpy()


def _around_source(stored: StoredImage, pixels: NDArray[np.float32], place: tuple[int, int]) -> StoredImage:
    """Return pixels (H, W, 3) on white as an image with the source's levels at ``place`` (left, top).

    New pixels are opaque, except around a source whose border is mostly clear: there alpha is what was drawn on white.
    """
    left, top = place
    rows, columns = slice(top, top + stored.size[1]), slice(left, left + stored.size[0])
    colours, alpha = pixels, np.ones((*pixels.shape[:2], 1), np.float32)
    if stored.alpha is not None and _has_clear_border(stored.alpha):
        before, ground = np.zeros_like(alpha), np.zeros(alpha.shape[:2], dtype=bool)
        before[rows, columns] = stored.alpha
        ground[rows, columns] = stored.alpha[..., 0] <= CLEAR
        drawn = drawn_share(pixels.clip(0, 1), before, ground)
        white = np.ones_like(pixels)
        colours, alpha = add_change(white, np.zeros_like(alpha), pixels - white, drawn)
    image = (
        stored.with_colours(colours) if stored.alpha is None else stored.with_colours(colours, stored.levels_of(alpha))
    )
    image.levels[rows, columns] = stored.levels
    return image


def _has_clear_border(alpha: NDArray[np.float32]) -> bool:
    """Whether most pixels at the border of an image (H, W, 1) are clear."""
    border = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
    return bool((border <= CLEAR).mean() >= 0.5)
