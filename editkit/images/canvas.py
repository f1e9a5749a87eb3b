"""Geometry between an image of any size and the size that a model works at."""

from __future__ import annotations

import dataclasses as dc

import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]


@dc.dataclass(frozen=True)
class Canvas:
    """Place of an image on a model's grid: the image is scaled to ``work``, then padded on all sides to ``padded``.

    Sizes are (width, height) in pixels. An image whose longest side already fits is not resampled.
    """

    size: Size
    work: Size
    padded: Size

    @classmethod
    def plan(cls, size: Size, longest: int, multiple: int) -> Canvas:
        """Scale ``size`` so that its longest side is ``longest``, and pad its sides to multiples of ``multiple``."""
        scale = longest / max(size)
        work = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
        return cls(size, work, (-(-work[0] // multiple) * multiple, -(-work[1] // multiple) * multiple))

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

    def latents_to_image(self, change: Tensor) -> Tensor:
        """Return a map (1, 1, h, w) of latents at the image's size (1, 1, H, W); each pixel has its latent's value."""
        padded = F.interpolate(change.float(), self.padded[::-1], mode="nearest-exact")
        return F.interpolate(self.crop(padded), self.size[::-1], mode="nearest-exact")


def resize(pixels: Tensor, size: Size) -> Tensor:
    """Resample (B, C, H, W) to ``size`` (width, height); pixels of that size are returned unchanged."""
    if pixels.shape[-2:] == (size[1], size[0]):
        return pixels
    return F.interpolate(pixels, (size[1], size[0]), mode="bicubic", antialias=True, align_corners=False)
