"""Quality figures of the report."""

from __future__ import annotations

from typing import Any

from PIL import Image
from torch import Tensor

from ..images.metrics import psnr, stored_difference
from ..images.stored.image import StoredImage
from ..inversion.inversion import Inversion
from .outcome import Edit, PixelEdit
from .params import EditParams
from .request import Request
from .session import Session


def measure_quality(
    session: Session, outcome: Edit | PixelEdit | Inversion, request: Request, frames: list[Image.Image]
) -> dict[str, Any]:
    """Return the quality figures of the report: PSNR of the reconstruction, largest difference outside the mask."""
    figures: dict[str, Any] = {}
    mask = request.params.mask if isinstance(request.params, EditParams) else None
    if mask is not None:
        source, result = StoredImage.of(request.sources[0]), StoredImage.of(frames[0])
        figures["untouched_max_diff"] = stored_difference(source, result, mask)
    if isinstance(outcome, PixelEdit):
        if outcome.place is not None:
            source, result = StoredImage.of(request.sources[0]), StoredImage.of(frames[0])
            figures["untouched_max_diff"] = stored_difference(source, result.crop(outcome.place, source.size))
        return figures
    reconstructed = None if isinstance(outcome, Inversion) or not outcome.inverted else outcome.reconstructed
    if reconstructed is None and not isinstance(outcome, Inversion):
        return figures
    figures["vae_psnr"] = psnr_to_source(session, session.latents)
    if reconstructed is not None:
        figures["recon_psnr"] = psnr_to_source(session, reconstructed)
    return figures


def psnr_to_source(session: Session, latents: Tensor) -> float:
    """Return the PSNR in dB of decoded latents (S, C, h, w) against the sources, at the model's working size."""
    decoded, sources = (session.canvas.crop(pixels) for pixels in (session.decode_cached(latents), session.sources))
    return round(psnr(decoded, sources), 4)
