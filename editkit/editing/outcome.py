"""Outcome of an operation, latents or pixels, and the check that it keeps the contract of its spec."""

from __future__ import annotations

import dataclasses as dc
import functools
from typing import Any

import torch
from torch import Tensor

from ..inversion.inversion import Inversion


@dc.dataclass(frozen=True, eq=False)
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

    @functools.cached_property
    def changes(self) -> bool:
        """Whether the latents differ from those of no edit by more than rounding."""
        if self.reconstructed is None or self.latents.shape != self.reconstructed.shape:
            return True
        return not torch.allclose(self.latents, self.reconstructed, rtol=0, atol=1e-3)


@dc.dataclass(frozen=True, eq=False)
class PixelEdit:
    """Result of an operation in pixels, for operations that work on regions of the image."""

    pixels: Tensor
    """(1, 3, H, W) in [0, 1], at the size of the result; the operation takes one image or none."""
    place: tuple[int, int] | None = None
    """Left and top of the source in a larger result that keeps the source unchanged."""
    plain: Tensor | None = None
    """Pixels of a larger result without the edit, the source on white merely enlarged, by which the edges of a
    transparent source get the edit alone."""
    kept: float | None = 1.0
    """Share in [0, 1] of what the mask marks that the pixels keep; 0 if they were sampled from noise, which paints over
    transparency."""


@dc.dataclass(frozen=True)
class Contract:
    """Requirements on the outcome of an operation, by its spec and the images of the call."""

    gives: str
    """``image`` or ``inversion``."""
    sources: int
    """Number of source images, S."""
    latents: tuple[int, ...]
    """(C, h, w) of latents on the session's canvas."""
    source_size: tuple[int, int]
    """Width and height of the source, or of the requested image."""
    size: tuple[int, int]
    """Width and height of the result."""

    def violation(self, outcome: Any) -> str | None:
        """Return how an outcome breaks the contract, as the end of "the operation ..."; None if it does not."""
        if isinstance(outcome, Inversion) if self.gives == "inversion" else isinstance(outcome, (Edit, PixelEdit)):
            return self._inversion(outcome) if isinstance(outcome, Inversion) else self._image(outcome)
        expected = "an Inversion" if self.gives == "inversion" else "an Edit or a PixelEdit"
        return f"returned {type(outcome).__name__}, not {expected}"

    def _inversion(self, inversion: Inversion) -> str | None:
        shape = (len(inversion.path), self.sources, *self.latents)
        return _tensor_violation("a trajectory", inversion.trajectory, shape)

    def _image(self, outcome: Edit | PixelEdit) -> str | None:
        return self._pixels(outcome) if isinstance(outcome, PixelEdit) else self._latents(outcome)

    def _latents(self, edit: Edit) -> str | None:
        rows = len(edit.latents) if isinstance(edit.latents, Tensor) and edit.latents.ndim else 0
        problem = _tensor_violation("latents", edit.latents, (max(rows, 1), *self.latents))
        if problem is None and edit.reconstructed is not None:
            problem = _tensor_violation("reconstructed latents", edit.reconstructed, (self.sources, *self.latents))
            if problem is None and edit.reconstructed.dtype != edit.latents.dtype:
                problem = (
                    f"returned latents of {edit.latents.dtype} and reconstructed ones of {edit.reconstructed.dtype}"
                )
        if problem is None and edit.shares is not None:
            problem = _tensor_violation("shares", edit.shares, (rows, self.sources))
            problem = problem or _share_violation(edit.shares)
        if problem is None and edit.kept is not None and not 0 <= edit.kept <= 1:
            problem = f"returned kept={edit.kept}, which is not in [0, 1]"
        if problem is None and edit.shares is None and edit.reconstructed is not None and self.sources != 1:
            problem = f"returned no shares for {self.sources} sources"
        if problem is None and self.size != self.source_size:
            problem = f"returned latents, which keep the size of the source, for a result of {_by(self.size)} pixels"
        return problem

    def _pixels(self, edit: PixelEdit) -> str | None:
        problem = _tensor_violation("pixels", edit.pixels, (1, 3, *self.size[::-1]))
        if problem is None and self.sources > 1:
            problem = "returned pixels for two sources, which have to be mixed in latents"
        if problem is None:
            low, high = edit.pixels.min().item(), edit.pixels.max().item()
            # Resampling overshoots by a part of a step; more is another range, such as [-1, 1] or [0, 255].
            problem = None if low > -0.5 and high < 1.5 else f"returned pixels in [{low:.3g}, {high:.3g}], not [0, 1]"
        if problem is None and edit.plain is not None:
            problem = _tensor_violation("plain pixels", edit.plain, (1, 3, *self.size[::-1]))
        if problem is None and edit.kept is not None and not 0 <= edit.kept <= 1:
            problem = f"returned kept={edit.kept}, which is not in [0, 1]"
        if problem is None and edit.place is not None:
            room = [whole - part for whole, part in zip(self.size, self.source_size, strict=True)]
            if not self.sources or any(not 0 <= at <= most for at, most in zip(edit.place, room, strict=True)):
                problem = f"placed the source at {edit.place}, which is not inside the result"
        return problem


def _tensor_violation(name: str, value: Any, shape: tuple[int, ...]) -> str | None:
    if not isinstance(value, Tensor):
        return f"returned {name} as {type(value).__name__}, not as a tensor"
    if not value.is_floating_point():
        return f"returned {name} of {value.dtype}, not of floating-point numbers"
    if tuple(value.shape) != shape:
        return f"returned {name} of shape {_by(value.shape)}, not {_by(shape)}"
    if not bool(torch.isfinite(value).all()):
        return f"returned {name} with NaN or infinity"
    return None


def _share_violation(shares: Tensor) -> str | None:
    total = shares.detach().double().sum(1)
    if bool((shares < -1e-3).any()) or bool((total - 1).abs().gt(1e-2).any()):
        return "returned shares that are negative or do not sum to 1 in each row"
    return None


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "no dimension"
