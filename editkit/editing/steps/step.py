"""Steps of the loops of an edit, as a progress function and a run show them."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ...diffusion.points import Point
from ...images.canvas import Canvas
from ...images.tensors import to_image
from ...model.backend import Backend
from .preview import preview_pixels

_LONGEST = 1024
"""Longest side in pixels of a preview that is no estimate, such as that of an enlarged image."""


@dc.dataclass(eq=False)
class Step:
    """A step of a loop that has been computed; the attributes are shared with the edit: do not write into tensors.

    An edit has one loop or more: ``label`` is "inverting", "fitting" (of what a replay needs beside the inversion),
    "sampling" or "upscaling" (of tiles).
    """

    index: int
    """Number of the step in its loop, from 0."""
    total: int
    """Number of steps of the loop."""
    label: str
    """Name of the loop."""
    point: Point | None
    """Coefficients (alpha, sigma) of the latents after the step; None for a loop along no path."""
    x0: Tensor | None = dc.field(repr=False)
    """(B, C, h, w): the latest estimate of the clean latents, with guidance and controls; None if there is none yet.

    The rows are those that are sampled together; the last one is the edit, or the last edit.
    """
    sources: int
    """Number of rows, the first ones, that are the sources beside the edits; 0 if there are none."""
    model: Backend = dc.field(repr=False)
    """Model that the loop evaluates."""
    canvas: Canvas = dc.field(repr=False)
    """Place of the image at the model's size."""
    pixels: Tensor | None = dc.field(repr=False)
    """(S, 3, H, W) in [0, 1]: what is shown while there is no estimate, the sources or an enlarged image so far."""
    item: Any = dc.field(repr=False)
    """Value of the loop itself: latents after the step (B, C, h, w), or what the loop computes."""
    beside: Sequence[Step | None] = dc.field(default=(), init=False, repr=False)
    """Latest steps of the edits that run in lock step with this one, if there are any, and this one among them."""

    @property
    def together(self) -> Sequence[Step]:
        """This step and the latest ones of the edits that run in lock step with its edit, in the order of the edits."""
        return [step for step in self.beside if step is not None] or [self]

    @property
    def is_last(self) -> bool:
        """Whether this is the last step of its loop."""
        return self.index == self.total - 1

    def preview(self, row: int = -1) -> Image.Image:
        """Return what the edit looks like so far: an RGB image of the size at which the model works.

        It is computed by this call: the estimate x0 of a row, by default of the edit, turned into colours by a linear
        map that is fitted to the autoencoder at the first preview of a model, and enlarged. The pixels of the
        result do not depend on it. Without an estimate it is the source, or the image so far for "upscaling"; grey
        for an edit without a source. In a region (``frame``, ``context``) it is the image of the region.
        """
        if self.x0 is None:
            return self._plain_preview()
        padded = _enlarge(preview_pixels(self.model, self.x0[row][None]), self.canvas.padded)
        return to_image(self.canvas.crop(padded)[0])

    def previews(self) -> list[Image.Image]:
        """Return the previews of all edits among the rows, such as the frames of ``interpolate``; usually it is one."""
        rows = range(self.sources, 1 if self.x0 is None else len(self.x0))
        return [self.preview(row) for row in rows] if rows else [self.preview()]

    def _plain_preview(self) -> Image.Image:
        if self.pixels is None or not len(self.pixels):
            return Image.new("RGB", self.canvas.work, (128, 128, 128))
        pixels = self.pixels[-1:].float().cpu()
        scale = min(1.0, _LONGEST / max(pixels.shape[-2:]))
        size = [max(1, round(side * scale)) for side in pixels.shape[-2:]]
        return to_image(F.interpolate(pixels, size, mode="area")[0] if scale < 1 else pixels[0])


def _enlarge(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Return pixels (B, 3, h, w) at ``size`` (width, height)."""
    if pixels.shape[-2:] == (size[1], size[0]):
        return pixels
    return F.interpolate(pixels, (size[1], size[0]), mode="bicubic", align_corners=False).clamp(0, 1)
