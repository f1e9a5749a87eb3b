"""How a picture of any size is brought to a size a model works at, and an edit of it back."""

from __future__ import annotations

import dataclasses as dc

import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]


@dc.dataclass(frozen=True)
class Canvas:
    """Where a picture lies on a model's grid: scaled to ``work``, then padded on all sides to ``padded``.

    Sizes are (width, height) in pixels. A picture whose longest side is already right is not resampled.
    """

    size: Size
    work: Size
    padded: Size

    @classmethod
    def plan(cls, size: Size, longest: int, multiple: int) -> Canvas:
        """Fit ``size`` so that its longest side is ``longest``, on sides that are multiples of ``multiple``."""
        scale = longest / max(size)
        work = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
        return cls(size, work, (-(-work[0] // multiple) * multiple, -(-work[1] // multiple) * multiple))

    @property
    def corner(self) -> tuple[int, int]:
        """Left and top of the picture on the padded canvas: it lies in the middle."""
        return (self.padded[0] - self.work[0]) // 2, (self.padded[1] - self.work[1]) // 2

    @property
    def margins(self) -> tuple[int, int, int, int]:
        """Pixels of the padded canvas left of the picture, right of it, above and below it."""
        left, top = self.corner
        return left, self.padded[0] - self.work[0] - left, top, self.padded[1] - self.work[1] - top

    def to_model(self, pixels: Tensor) -> Tensor:
        """A picture (1, 3, H, W) to the padded canvas, the border repeated outward."""
        return F.pad(resize(pixels, self.work).clamp(0, 1), self.margins, mode="replicate")

    def mask_to_model(self, mask: Tensor) -> Tensor:
        """A mask (1, 1, H, W) to the padded canvas, where each pixel is as much as the most it stands for."""
        return F.pad(F.adaptive_max_pool2d(mask, self.work[::-1]), self.margins, mode="replicate")

    def cropped(self, pixels: Tensor) -> Tensor:
        """The picture's part of a padded canvas (B, 3, h, w), at the model's scale."""
        left, top = self.corner
        return pixels[..., top : top + self.work[1], left : left + self.work[0]]

    def to_image(self, pixels: Tensor) -> Tensor:
        """The picture's part of a padded canvas, at the picture's own size (B, 3, H, W)."""
        return resize(self.cropped(pixels), self.size)


def resize(pixels: Tensor, size: Size) -> Tensor:
    """Resample (B, C, H, W) to ``size`` (width, height), or return it as it is where the size is right."""
    if pixels.shape[-2:] == (size[1], size[0]):
        return pixels
    return F.interpolate(pixels, (size[1], size[0]), mode="bicubic", antialias=True, align_corners=False)
