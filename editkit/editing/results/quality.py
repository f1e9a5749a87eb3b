"""Quality figures of the report."""

from __future__ import annotations

import dataclasses as dc
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...diffusion.denoiser import latent_dtype
from ...images.metrics import psnr, stored_difference
from ...images.sources import format_size
from ...images.stored.image import StoredImage
from ...inversion.inversion import Inversion
from ...model.backend import Backend
from ..outcome import Edit, PixelEdit
from ..request import Request
from ..session import Session

AUTOENCODER_FLOOR = 20.0
"""PSNR in dB of an autoencoder's round trip, at the model's scale, below which the model cannot hold an image."""
_WHITE_PSNR: weakref.WeakKeyDictionary[Backend, float] = weakref.WeakKeyDictionary()


@dc.dataclass(frozen=True)
class Untouched:
    """Part of a source that a result has to repeat."""

    source: Image.Image
    mask: Image.Image | None
    """Mask in mode L, whose zeros are the part; None for the whole source."""
    place: tuple[int, int] = (0, 0)
    """Left and top of the source in the result."""

    def largest_difference(self, result: StoredImage) -> int:
        """Largest difference of a result, or of its file, to the part, in levels of the result's bit depth."""
        source = StoredImage.of(self.source)
        return stored_difference(source, result.crop(self.place, source.size), self.mask)


def untouched_part(
    outcome: Edit | PixelEdit | Inversion, request: Request, mask: Image.Image | None
) -> Untouched | None:
    """Return the part of the source that an outcome repeats under a mask in mode L; None where nothing is kept."""
    if isinstance(outcome, PixelEdit) and outcome.place is not None:
        return Untouched(request.sources[0], None, outcome.place)
    if mask is None or isinstance(outcome, Inversion) or bool(np.asarray(mask).all()):
        return None
    return Untouched(request.sources[0], mask)


def measure_quality(session: Session, outcome: Edit | PixelEdit | Inversion) -> dict[str, Any]:
    """Return the PSNR figures of the report: of the autoencoder and of the source branch after an inversion."""
    if isinstance(outcome, PixelEdit):
        return {}
    reconstructed = None if isinstance(outcome, Inversion) or not outcome.inverted else outcome.reconstructed
    if reconstructed is None and not isinstance(outcome, Inversion):
        return {}
    if isinstance(outcome, Inversion) or outcome.changes:
        warn_of_autoencoder(session)
    figures = _psnr_to_source(session, session.latents, "vae_psnr")
    if reconstructed is not None:
        figures |= _psnr_to_source(session, reconstructed, "recon_psnr")
    return figures


def warn_of_no_change(session: Session, outcome: Edit | PixelEdit | Inversion, frames: Sequence[Image.Image]) -> None:
    """Warn if an edit changes latents, but no pixel of its one source in the result."""
    if not isinstance(outcome, Edit) or len(session.images) != 1 or len(frames) != 1 or not outcome.changes:
        return
    source, result = (StoredImage.of(image).levels for image in (session.images[0], frames[0]))
    if np.array_equal(source, result):
        where = "" if session.mask is None else " under the mask"
        session.usage.warn(
            f"the result equals the image: the edit changes no pixel{where}; more strength or guidance, other words or "
            "another place may help"
        )


def warn_of_autoencoder(session: Session) -> None:
    """Warn if the autoencoder's round trip of the sources is below :data:`AUTOENCODER_FLOOR`.

    An autoencoder that does not reproduce a white page either is not trained at all, which is no matter of the image.
    """
    problem = f"the model {session.model.name!r} cannot hold this image"
    if any(text.startswith(problem) for text in session.usage.warnings):
        return  # of the tiles of an image the first is enough
    value = _round_trip_psnr(session)
    if value < AUTOENCODER_FLOOR <= _white_psnr(session.model):
        session.usage.warn(
            f"{problem}: its autoencoder reproduces it with a PSNR of "
            f"{value:.1f} dB at {format_size(session.canvas.work)} pixels, below {AUTOENCODER_FLOOR:g} dB, so what the "
            "edit draws lacks its content; take a model for such images, or a higher resolution="
        )


def _round_trip_psnr(session: Session) -> float:
    """PSNR in dB of the autoencoder's round trip of the sources, at the model's scale."""
    return _working_psnr(session, session.pixel_cache.on_host(session.decode_cached(session.latents)))


def _working_psnr(session: Session, decoded: Tensor) -> float:
    """PSNR in dB of pixels in main memory against the sources, at the model's scale."""
    return psnr(session.canvas.crop(decoded), session.canvas.crop(session.pixel_cache.on_host(session.sources)))


def _white_psnr(model: Backend) -> float:
    """PSNR in dB of the autoencoder's round trip of a small white page, measured once for each model."""
    if model not in _WHITE_PSNR:
        side = 4 * model.multiple
        white = torch.ones(1, 3, side, side, dtype=latent_dtype(model.dtype), device=model.device)
        _WHITE_PSNR[model] = psnr(model.decode(model.encode(white)), white)
    return _WHITE_PSNR[model]


def _psnr_to_source(session: Session, latents: Tensor, name: str) -> dict[str, float]:
    """PSNR in dB of decoded latents (S, C, h, w) against the sources, at the image's and at the model's size."""
    decoded = session.pixel_cache.on_host(session.decode_cached(latents))
    full = psnr(session.canvas.to_image(decoded).clamp(0, 1), session.pixels.clamp(0, 1))
    return {
        name: round(full, 4),
        f"{name}_working": round(_working_psnr(session, decoded), 4),
    }
