"""Geometry between an image of any size and the size that a model works at."""

from __future__ import annotations

import dataclasses as dc
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .sources import working_size

Size = tuple[int, int]

LONGEST_RATIO, SMALL_RATIO = 4, 8
"""Ratio of the longest side to the shortest up to which a whole image is scaled to a model's native size: for images
larger than that size, and for smaller ones."""
TINY_MASK = 1 / 16
"""Longest side of a mask at the model's scale, as a share of the native size, below which an edit has no detail."""
THIN_MASK = 1 / 32
"""Width of a mask's widest place at the model's scale, as a share of the native size, below which the same holds."""
_SPECK = 8
"""Longest side in pixels of a part up to which it counts as a slip of the brush beside larger ones."""
LONGEST_WHOLE = 8
"""Ratio of the longest side to the shortest up to which :meth:`Canvas.plan_area` keeps the area of a square of the
model's native size."""
LONG_WINDOWS = 8
"""Limit on how far a small long image is enlarged, in native sizes."""


class Box(NamedTuple):
    """Edges of a rectangle in pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def side(self) -> int:
        """Longest side."""
        return max(self.width, self.height)

    @property
    def area(self) -> int:
        return self.width * self.height

    @classmethod
    def around(cls, boxes: Sequence[Box]) -> Box:
        """Return the smallest box that holds all others, of which there is one at least."""
        left, top, right, bottom = zip(*boxes, strict=True)
        return cls(min(left), min(top), max(right), max(bottom))


def marked_box(mask: Tensor) -> Box | None:
    """Return the smallest box that holds all pixels of a mask (1, 1, H, W) above 0; None if there are none."""
    marked = mask[0, 0] > 0
    rows, columns = (torch.nonzero(marked.any(axis))[:, 0].tolist() for axis in (1, 0))
    return Box(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) if rows else None


def part_boxes(mask: Tensor, near: int) -> list[Box]:
    """Return the boxes of the parts of a mask (1, 1, H, W); those within ``near`` pixels of each other are one part."""
    import cv2

    whole = marked_box(mask)
    if whole is None:
        return []
    marked = (mask[0, 0, whole.top : whole.bottom, whole.left : whole.right] > 0).cpu().numpy().astype(np.uint8)
    # Beside the box a border of the kernel's size keeps the boxes of dilated parts whole.
    wide = cv2.dilate(np.pad(marked, near), np.ones((near, near), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(wide, connectivity=8)
    boxes = [(int(left), int(top), int(width), int(height)) for left, top, width, height, _ in stats[1:]]
    # The border moves a part by `near`, and dilating enlarges it by `near - 1`, of which half is on its first side.
    x, y = (first - near + (near - 1) // 2 for first in (whole.left, whole.top))
    return [
        Box(x + left, y + top, x + left + width - near + 1, y + top + height - near + 1)
        for left, top, width, height in boxes
    ]


@dc.dataclass(frozen=True)
class Canvas:
    """Place of an image on a model's grid: the image is scaled to ``work``, then padded on all sides to ``padded``.

    Sizes are (width, height) in pixels. An image whose longest side already fits is not resampled.
    """

    size: Size
    work: Size
    padded: Size
    window: Size | None = None
    """Size of the overlapping parts of ``padded`` that the network takes one by one; None if it takes all at once."""

    @classmethod
    def plan_native(cls, size: Size, native: int, multiple: int, longest: int | None = None) -> Canvas:
        """Plan for a model of a native size: whole images at that size, long ones in windows of that size.

        A given ``longest`` side is obeyed. Else the longest side becomes ``native``, up to :data:`LONGEST_RATIO`:
        scaled like this a longer image would be a few pixels high. Its shortest side becomes ``native`` instead; one
        that is smaller keeps its size, or becomes half of ``native``.
        """
        ratio = LONGEST_RATIO if max(size) > native else SMALL_RATIO
        if longest is not None or max(size) <= ratio * min(size):
            return cls.plan(size, longest or native, multiple)
        scale = native / min(size)
        if scale > 1:
            scale = max(1.0, min(scale / 2, LONG_WINDOWS * native / max(size)))
        plan = cls.plan(size, round(max(size) * scale), multiple)
        floor = -(-native // LONGEST_RATIO // multiple) * multiple
        width, height = (max(side, floor) for side in plan.padded)
        window = (min(width, native), height) if width > height else (width, min(height, native))
        return dc.replace(plan, padded=(width, height), window=window)

    @classmethod
    def plan_area(cls, size: Size, native: int, multiple: int, longest: int | None = None) -> Canvas:
        """Plan for a model that reads whole images: at the area of a square of its native size, without padding.

        A given ``longest`` side is obeyed. The image is stretched to multiples, as the model sees it too. Images longer
        than :data:`LONGEST_WHOLE` have a smaller area.
        """
        ratio = min(max(size) / min(size), LONGEST_WHOLE)
        plan = cls.plan(size, longest or round(native * math.sqrt(ratio)), multiple)
        return dc.replace(plan, work=plan.padded)

    @classmethod
    def plan(cls, size: Size, longest: int, multiple: int) -> Canvas:
        """Scale ``size`` so that its longest side is ``longest``, and pad its sides to multiples of ``multiple``.

        Raises InvalidParameter for more than 64 million pixels.
        """
        work = working_size(size, longest)
        return cls(size, work, (-(-work[0] // multiple) * multiple, -(-work[1] // multiple) * multiple))

    @property
    def window_warning(self) -> str:
        """Sentence for the report of an edit in windows."""
        size, work, window = ("{} x {}".format(*size) for size in (self.size, self.work, self.window or self.padded))
        return (
            f"an image of {size} pixels is long: the model works on it at {work} pixels, in overlapping windows of "
            f"{window}; a resolution= makes it work on the whole image at once, at that longest side"
        )

    @property
    def scale(self) -> float:
        """Pixels at the model's scale for one pixel of the image."""
        return max(self.work) / max(self.size)

    def small_mask_warning(self, mask: Tensor, native: int) -> str | None:
        """Return a warning if the model sees parts of a mask (1, 1, H, W) at few pixels of a reduced image."""
        parts = part_boxes(mask, math.ceil(1 / self.scale)) if self.scale < 1 else []
        if not parts:
            return None
        small = [part for part in parts if part.side * self.scale < native * TINY_MASK]
        if len(small) < len(parts):
            small = [part for part in small if part.side >= _SPECK]
            return self._marks(small, len(parts)) if small else self._thin_mask_warning(mask, native)
        return self._marks(small, len(parts))

    def _marks(self, small: Sequence[Box], count: int) -> str:
        """Return the warning of small parts of a mask of ``count`` parts."""
        box = max(small, key=lambda part: part.side)
        marks = "the mask marks" if count == 1 else f"the largest of {count} parts of the mask has"
        if len(small) < count:
            several = f"{len(small)} of {count} parts of the mask are small: the largest of them has"
            marks = f"one of {count} parts of the mask has" if len(small) == 1 else several
        way = "use" if count == 1 else "edit the parts one by one, using"
        edit = "the edit" if len(small) == count else "the edit there"
        return (
            f"{marks} {box.width} x {box.height} pixels, which are {box.width * self.scale:.0f} x "
            f"{box.height * self.scale:.0f} at the scale the model works at: {edit} has no detail; {way} inpaint "
            "with its context, a higher resolution=, or a crop of the image"
        )

    def _thin_mask_warning(self, mask: Tensor, native: int) -> str | None:
        """Return a warning if even the widest place of a mask (1, 1, H, W) is thin at the model's scale."""
        import cv2

        marked = np.pad((mask[0, 0] > 0).cpu().numpy().astype(np.uint8), 1, mode="edge")
        width = 0 if marked.all() else round(2 * float(cv2.distanceTransform(marked, cv2.DIST_L2, 5).max()))
        if not 0 < width * self.scale < native * THIN_MASK:
            return None
        return (
            f"the mask is at most about {width} pixels wide, which are {width * self.scale:.1f} at the scale the model "
            "works at: the edit has no detail across it; a higher resolution=, or edits of its parts one by one, draw "
            "it larger"
        )

    @property
    def corner(self) -> tuple[int, int]:
        """Left and top of the image on the padded canvas, where it is centred."""
        return (self.padded[0] - self.work[0]) // 2, (self.padded[1] - self.work[1]) // 2

    @property
    def margins(self) -> tuple[int, int, int, int]:
        """Pixels of the padded canvas left of the image, right of it, above and below it."""
        left, top = self.corner
        return left, self.padded[0] - self.work[0] - left, top, self.padded[1] - self.work[1] - top

    def to_model(self, pixels: Tensor) -> Tensor:
        """Scale and pad an image (1, 3, H, W) to the padded canvas; padding repeats the border."""
        return F.pad(resize(pixels, self.work).clamp(0, 1), self.margins, mode="replicate")

    def mask_to_model(self, mask: Tensor) -> Tensor:
        """Scale and pad a mask (1, 1, H, W) to the padded canvas; each pixel is the maximum of those it covers."""
        return F.pad(F.adaptive_max_pool2d(mask, self.work[::-1]), self.margins, mode="replicate")

    def crop(self, pixels: Tensor) -> Tensor:
        """Crop a padded canvas (B, 3, h, w) to the image, at the model's scale."""
        left, top = self.corner
        return pixels[..., top : top + self.work[1], left : left + self.work[0]]

    def to_image(self, pixels: Tensor) -> Tensor:
        """Crop a padded canvas (B, 3, h, w) to the image and resample it to the image's size (B, 3, H, W)."""
        return resize(self.crop(pixels), self.size)

    def latents_to_image(self, change: Tensor, *, smooth: bool = False) -> Tensor:
        """Return a map (1, 1, h, w) of latents at the image's size (1, 1, H, W).

        Each pixel has its latent's value, or a ``smooth`` transition to that of the next one.
        """
        mode = "bilinear" if smooth else "nearest-exact"
        padded = F.interpolate(change.float(), self.padded[::-1], mode=mode)
        return F.interpolate(self.crop(padded), self.size[::-1], mode=mode)


def resize(pixels: Tensor, size: Size) -> Tensor:
    """Resample (B, C, H, W) to ``size`` (width, height); pixels of that size are returned unchanged."""
    if pixels.shape[-2:] == (size[1], size[0]):
        return pixels
    return F.interpolate(pixels, (size[1], size[0]), mode="bicubic", antialias=True, align_corners=False)
