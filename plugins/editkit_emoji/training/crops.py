"""Crops of large images with the augmentations of the upscaler, and their low-resolution versions."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from editkit_emoji.training.autoencoder import levels, to_network

FACTOR = 4
"""Scale of the upscaler."""
PLAIN = 6
"""Standard deviation, in levels of 255, up to which a crop counts as plain."""
TRIES = 4
"""Positions tried for a crop that is not plain; half of these images is white background."""
SHRUNK = 0.25
"""Share of crops from an image at half its size, which has finer lines."""
RECOLOURED = 0.35
"""Share of crops with changed colours, half of them on black instead of white."""
FILTERED = 0.25
"""Share of small images that are bicubic reductions instead of averages."""


@dc.dataclass(frozen=True)
class Crops:
    """Large images (N, H, W, 3) uint8, and the indices of the images that crops come from."""

    pixels: NDArray[np.uint8]
    places: Sequence[int]

    def sample(self, count: int, side: int, generator: torch.Generator) -> tuple[Tensor, list[int]]:
        """Sample crops (B, 3, side, side) in [-1, 1], randomly rotated and mirrored, and the indices of their images.

        The index of a recoloured crop is -1, because the caption of its image does not describe it.
        """
        chosen = [self.places[i] for i in torch.randint(len(self.places), (count,), generator=generator).tolist()]
        crops = torch.cat([to_network(self.crop(place, side, generator)[None]) for place in chosen])
        turned = [turn(crop, generator) for crop in crops]
        recoloured = (torch.rand(count, generator=generator) < RECOLOURED).tolist()
        crops = torch.stack(
            [recolour(crop, generator) if other else crop for crop, other in zip(turned, recoloured, strict=True)]
        )
        return crops, [-1 if other else place for place, other in zip(chosen, recoloured, strict=True)]

    def crop(self, place: int, side: int, generator: torch.Generator) -> NDArray[np.uint8]:
        """Return a crop (side, side, 3) of one image, plain only if :data:`TRIES` positions are plain."""
        image = self.pixels[place]
        if float(torch.rand((), generator=generator)) < SHRUNK and image.shape[0] >= 2 * side:
            image = halve(image)
        for _ in range(TRIES):
            top, left = torch.randint(image.shape[0] - side + 1, (2,), generator=generator).tolist()
            part: NDArray[np.uint8] = image[top : top + side, left : left + side]
            if part.std() > PLAIN:
                break
        return part


def halve(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Halve the sides of an image (H, W, 3); each pixel is the mean of four."""
    height, width = image.shape[:2]
    means = image.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))
    shrunk: NDArray[np.uint8] = np.rint(means).astype(np.uint8)
    return shrunk


def turn(crop: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate and mirror a square crop (3, side, side) into one of its eight orientations."""
    quarters, mirrored = torch.randint(4, (2,), generator=generator).tolist()
    turned = torch.rot90(crop, quarters, (1, 2))
    return turned.flip(-1) if mirrored % 2 else turned


def recolour(crop: Tensor, generator: torch.Generator) -> Tensor:
    """Permute the channels of a crop (3, side, side) in [-1, 1] and invert half of the crops."""
    mixed = crop[torch.randperm(3, generator=generator)]
    return -mixed if float(torch.rand((), generator=generator)) < 0.5 else mixed


def shrink(crops: Tensor, generator: torch.Generator) -> Tensor:
    """Reduce crops to small images (B, 3, h, w), mostly by averaging, rounded to 8-bit levels."""
    averaged = F.avg_pool2d(crops, FACTOR)
    filtered = F.interpolate(crops, averaged.shape[-2:], mode="bicubic", antialias=True)
    which = torch.rand(len(crops), 1, 1, 1, generator=generator) < FILTERED
    return levels(torch.where(which, filtered, averaged)) / 127.5 - 1
