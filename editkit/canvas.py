"""How a picture of any size is brought to a size a model works at, and an edit of it back."""

from __future__ import annotations

import dataclasses as dc

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from . import images
from .likeness import little_changed

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
        return F.pad(resized(pixels, self.work).clamp(0, 1), self.margins, mode="replicate")

    def mask_to_model(self, mask: Tensor) -> Tensor:
        """A mask (1, 1, H, W) to the padded canvas, where each pixel is as much as the most it stands for."""
        return F.pad(F.adaptive_max_pool2d(mask, self.work[::-1]), self.margins, mode="replicate")

    def cropped(self, pixels: Tensor) -> Tensor:
        """The picture's part of a padded canvas (B, 3, h, w), at the model's scale."""
        left, top = self.corner
        return pixels[..., top : top + self.work[1], left : left + self.work[0]]

    def to_picture(self, pixels: Tensor) -> Tensor:
        """The picture's part of a padded canvas, at the picture's own size (B, 3, H, W)."""
        return resized(self.cropped(pixels), self.size)


def resized(pixels: Tensor, size: Size) -> Tensor:
    """Resample (B, C, H, W) to ``size`` (width, height), or return it as it is where the size is right."""
    if pixels.shape[-2:] == (size[1], size[0]):
        return pixels
    return F.interpolate(pixels, (size[1], size[0]), mode="bicubic", antialias=True, align_corners=False)


def to_tensor(image: Image.Image) -> Tensor:
    """A picture as a viewer on white sees it, (1, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(images.pixels(image)).permute(2, 0, 1)[None]


def to_image(pixels: Tensor) -> Image.Image:
    """Pixels (3, H, W) in [0, 1] to an RGB picture."""
    return Image.fromarray(pixels.clamp(0, 1).mul_(255).round_().byte().permute(1, 2, 0).cpu().numpy())


def psnr(one: Tensor, other: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pixels in [0, 1], both rounded to 8 bits; 100 where they are equal."""
    error = ((one * 255).round() - (other * 255).round()).double().square().mean()
    return 100.0 if error == 0 else float(10 * torch.log10(255**2 / error))


NEAR = 6
"""Pixels at the model's scale over which colours around a mask are averaged."""
FAR = 1e-3
"""Weight of the mean of everything outside a mask against what is near."""


def lay_on(canvas: Canvas, source: Tensor, edited: Tensor, reconstructed: Tensor, mask: Tensor | None = None) -> Tensor:
    """Take an edit as a difference and lay it on the source's own pixels where little changed.

    ``source`` is (B, 3, H, W) at the picture's size, ``mask`` (1, 1, H, W) likewise, the others (B, 3, h, w) on the
    padded canvas. What the autoencoder and the model's size lose is the source less its reconstruction. Where
    ``edited`` equals ``reconstructed`` the answer is the source exactly; where everything changed it is ``edited``,
    in the colours that the source has around the mask.
    """
    change = canvas.cropped(edited - reconstructed)
    kept = resized(little_changed(change), canvas.size).clamp(0, 1)
    drawn = canvas.to_picture(edited)
    if mask is not None:
        drawn = drawn + resized(colour_shift(canvas, source, edited, mask), canvas.size)
    return source + kept * resized(change, canvas.size) + (1 - kept) * (drawn - source)


def colour_shift(canvas: Canvas, source: Tensor, edited: Tensor, mask: Tensor) -> Tensor:
    """What the source's colours differ by from the drawn ones outside a mask, carried on smoothly inside it.

    Arguments as for :func:`lay_on`; returns (B, 3, h, w) at the model's scale. Outside the mask both show the same, so
    that what differs there is the autoencoder's doing.
    """
    outside = (F.adaptive_max_pool2d(mask, canvas.work[::-1]) == 0).to(source)
    if not bool(outside.any()):
        return torch.zeros_like(canvas.cropped(edited))
    wrong = (resized(source, canvas.work) - canvas.cropped(edited)) * outside
    near = spread(outside)
    everywhere = wrong.sum((2, 3), keepdim=True) / outside.sum((2, 3), keepdim=True)
    # Far inside a mask nothing is near: the mean of all outside is what is left to go by.
    return (spread(wrong) + FAR * everywhere) / (near + FAR)


def spread(values: Tensor) -> Tensor:
    """Blur (B, C, h, w) over :data:`NEAR` pixels on either side, three times: nearly a Gaussian."""
    for _ in range(3):
        values = F.avg_pool2d(values, 2 * NEAR + 1, stride=1, padding=NEAR)
    return values
