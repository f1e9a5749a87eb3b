"""Crops of large images, in all the ways that an upscaler may meet them, and what is left of them when shrunk."""

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
"""Times an upscaler enlarges."""
PLAIN = 6
"""Deviation in levels of 255 below which a crop is nearly all one colour."""
TRIES = 4
"""Places looked at for a crop that is not plain: half of these images is white ground."""
SHRUNK = 0.25
"""Share of crops of an image at half its size, whose lines are finer."""
RECOLOURED = 0.35
"""Share of crops in other colours than an emoji's, half of them on black instead of white."""
FILTERED = 0.25
"""Share of small images that are not plain averages."""


@dc.dataclass(frozen=True)
class Crops:
    """Large images (N, H, W, 3) uint8, and the places of those that crops are taken from."""

    pixels: NDArray[np.uint8]
    places: Sequence[int]

    def draw(self, count: int, side: int, generator: torch.Generator) -> tuple[Tensor, list[int]]:
        """Crops (B, 3, side, side) in [-1, 1], turned and mirrored at random, and the places of their images.

        The place of a crop in colours of its own is -1: what its image is called is not true of it.
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
        """A crop (side, side, 3) of one image, not a plain one if a few tries find another."""
        image = self.pixels[place]
        if float(torch.rand((), generator=generator)) < SHRUNK and image.shape[0] >= 2 * side:
            image = halve(image)
        for _ in range(TRIES):
            top, left = torch.randint(image.shape[0] - side + 1, (2,), generator=generator).tolist()
            found: NDArray[np.uint8] = image[top : top + side, left : left + side]
            if found.std() > PLAIN:
                break
        return found


def halve(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image (H, W, 3) of half the sides, each pixel the mean of four."""
    height, width = image.shape[:2]
    means = image.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))
    shrunk: NDArray[np.uint8] = np.rint(means).astype(np.uint8)
    return shrunk


def turn(crop: Tensor, generator: torch.Generator) -> Tensor:
    """A square crop (3, side, side) in one of its eight positions."""
    quarters, mirrored = torch.randint(4, (2,), generator=generator).tolist()
    turned = torch.rot90(crop, quarters, (1, 2))
    return turned.flip(-1) if mirrored % 2 else turned


def recolour(crop: Tensor, generator: torch.Generator) -> Tensor:
    """A crop (3, side, side) in [-1, 1] with its channels in another order, half of them inverted."""
    mixed = crop[torch.randperm(3, generator=generator)]
    return -mixed if float(torch.rand((), generator=generator)) < 0.5 else mixed


def shrink(crops: Tensor, generator: torch.Generator) -> Tensor:
    """Small images (B, 3, h, w) of crops, most of them averages, in whole levels of 255 as a file would hold them."""
    averaged = F.avg_pool2d(crops, FACTOR)
    filtered = F.interpolate(crops, averaged.shape[-2:], mode="bicubic", antialias=True)
    which = torch.rand(len(crops), 1, 1, 1, generator=generator) < FILTERED
    return levels(torch.where(which, filtered, averaged)) / 127.5 - 1
