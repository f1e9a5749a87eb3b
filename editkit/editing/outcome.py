"""Outcome of an operation: latents or pixels."""

from __future__ import annotations

import dataclasses as dc

from torch import Tensor


@dc.dataclass(frozen=True)
class Edit:
    """Result of an operation in latents, with their relation to the source images."""

    latents: Tensor
    """(B, C, h, w), one row for each resulting image."""
    reconstructed: Tensor | None = None
    """(S, C, h, w): each source after the same computation without an edit."""
    inverted: bool = False
    """Whether ``reconstructed`` comes from an inversion, so that its PSNR measures the inversion."""
    shares: Tensor | None = None
    """(B, S): share of each source in a row; ones if None."""
    kept: float | None = None
    """Share in [0, 1] of the sources' detail that the edit keeps where it changes nothing.

    None for what the noise at the start of the session's sampling left: see :attr:`Session.kept`."""
    carry: bool = True
    """Whether the edit is laid on the sources' pixels; if not, the images are the decoded latents."""


@dc.dataclass(frozen=True)
class PixelEdit:
    """Result of an operation in pixels, for operations that work on regions of the image."""

    pixels: Tensor
    """(1, 3, H, W) in [0, 1], at the size of the result."""
    place: tuple[int, int] | None = None
    """Left and top of the source in a larger result that keeps the source unchanged."""
