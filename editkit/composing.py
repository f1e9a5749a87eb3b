"""From what a model decoded to the picture a user gets: size, detail, mask and alpha as promised for every edit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from . import images
from .canvas import lay_on
from .session import Edit, Session

Levels = NDArray[np.uint8]


def to_tensor(image: Image.Image) -> Tensor:
    """A picture as a viewer on white sees it, (1, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(images.pixels(image)).permute(2, 0, 1)[None]


def to_image(pixels: Tensor) -> Image.Image:
    """Pixels (3, H, W) in [0, 1] to an RGB picture."""
    return Image.fromarray((pixels.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())


def compose(
    session: Session, edit: Edit, sources: Sequence[Image.Image], mask: Image.Image | None
) -> list[Image.Image]:
    """The resulting pictures, one a row of ``edit.latents``, each of the size of its sources."""
    canvas = session.canvas
    decoded = session.model.decode(edit.latents).float().cpu()
    if edit.reconstructed is None or not edit.carry:
        return [to_image(row) for row in canvas.to_picture(decoded)]
    shares = torch.ones(len(decoded), 1) if edit.shares is None else edit.shares.float().cpu()
    pictures = torch.cat([to_tensor(source) for source in sources])
    trips = session.model.decode(edit.reconstructed).float().cpu()
    seen, trip = (torch.einsum("bs,schw->bchw", shares, pixels) for pixels in (pictures, trips))
    laid = lay_on(canvas, seen, decoded, trip)
    return [finish(row, share, before, sources, mask) for row, share, before in zip(laid, shares, seen, strict=True)]


def finish(
    laid: Tensor, share: Tensor, seen: Tensor, sources: Sequence[Image.Image], mask: Image.Image | None
) -> Image.Image:
    """Turn laid pixels (3, H, W) into a picture with its sources' alpha, changed only inside the mask."""
    stored = sum(
        weight * np.asarray(source, dtype=np.float32) for weight, source in zip(share.tolist(), sources, strict=True)
    )
    assert isinstance(stored, np.ndarray)
    change = (laid - seen).permute(1, 2, 0).numpy() * 255
    if stored.shape[-1] == 4:
        # On white a pixel shows only alpha of its colour, so its colour changes by as much more.
        change = change / np.maximum(stored[..., 3:], 1) * 255
    if mask is not None:
        change = change * (np.asarray(mask, dtype=np.float32)[..., None] / 255)
    stored[..., :3] += change
    return Image.fromarray(np.clip(np.rint(stored), 0, 255).astype(np.uint8))


def feathered(mask: Image.Image, width: float) -> Image.Image:
    """Let a mask fade from its edge inward over ``width`` pixels; what it left alone stays alone."""
    if width == 0:
        return mask
    import cv2

    levels = np.asarray(mask)
    # Outside the picture counts as changed: an edge of the picture is no edge of the mask.
    inside = cv2.distanceTransform((levels > 0).astype(np.uint8), cv2.DIST_L2, 5)
    return Image.fromarray(np.rint(levels * np.clip(inside / (width + 1), 0, 1)).astype(np.uint8))
