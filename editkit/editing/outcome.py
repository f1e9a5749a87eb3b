"""What an operation returns: latents or pixels."""

from __future__ import annotations

import dataclasses as dc

from torch import Tensor


@dc.dataclass(frozen=True)
class Edit:
    """What an operation hands back: latents, and how they lie to the pictures they came from."""

    latents: Tensor
    """(B, C, h, w), one row a resulting picture."""
    reconstructed: Tensor | None = None
    """(S, C, h, w): what the model made of each source by the same way without an edit."""
    inverted: bool = False
    """Whether ``reconstructed`` came from an inversion, and so says how good that was."""
    shares: Tensor | None = None
    """(B, S): how much of each source is in a row; ones where not given."""
    carry: bool = True
    """Whether the edit is laid on the sources' pixels; without it the pictures are what the model decoded."""


@dc.dataclass(frozen=True)
class PixelEdit:
    """What an operation hands back that has made the pixels itself, mostly out of parts of its picture."""

    pixels: Tensor
    """(1, 3, H, W) in [0, 1], of the size of the result."""
    place: tuple[int, int] | None = None
    """Left and top of the source in a larger result, where all of it is kept as it is."""
