"""Colours of latents by a linear map: a preview without the autoencoder's decoder."""

from __future__ import annotations

import threading
import weakref
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...diffusion.denoiser import latent_dtype
from ...diffusion.transfer import to_device
from ...model.backend import Backend
from ...model.batching import unwrap

_KERNEL = 3
"""Side of the neighbourhood of latents that decides a colour."""
_POINTS, _POINTS_PER_WEIGHT = 2048, 4
"""Least number of latents to which a map is fitted, and least number for each of its weights."""
_LEAST_CELLS, _MOST_CELLS = 16, 32
"""Latents along a side of the images that they are taken from."""
_LEAVES, _LEAF_SIDE = 300, 128
"""Discs in such an image, and the side in pixels at which they are drawn."""
_RADII = 0.03, 0.6
"""Least and largest radius of a disc in sides of the image."""


class LatentColours(NamedTuple):
    """Linear map from the latents of an autoencoder and their neighbours to colours in [0, 1].

    A latent has s x s colours, as many as its C channels can carry.
    """

    weights: Tensor
    """(3 * s * s, C, k, k), float32 on the CPU."""
    offset: Tensor
    """(3 * s * s,)"""
    divisions: int
    """s, a power of two."""

    @classmethod
    def fit(cls, model: Backend) -> LatentColours:
        """Fit the map by least squares to what a model's autoencoder makes of a few random images.

        The images are equal in every process, so that the map depends on the autoencoder alone.
        """
        side, count = _layout(model)
        channels, *cells = model.latent_shape(side, side)
        divisions = _divisions(channels, side // cells[-1])
        size = cells[0] * divisions, cells[1] * divisions
        inputs, outputs = [], []
        with torch.no_grad():
            for image in torch.split(_random_images(count, side), 1):
                latents = model.encode(to_device(image, model.device, latent_dtype(model.dtype)))
                inputs.append(latents.cpu().double())
                outputs.append(F.adaptive_avg_pool2d(model.decode(latents).cpu().double(), size))
        rows = F.unfold(_padded(torch.cat(inputs)), _KERNEL).movedim(1, -1).flatten(0, 1)
        rows = torch.cat([rows, torch.ones_like(rows[:, :1])], 1)
        colours = F.pixel_unshuffle(torch.cat(outputs), divisions).flatten(2).movedim(1, -1).flatten(0, 1)
        solution = torch.linalg.lstsq(rows, colours, driver="gelsd").solution.float()
        return cls(solution[:-1].T.reshape(-1, channels, _KERNEL, _KERNEL), solution[-1], divisions)

    def __call__(self, latents: Tensor) -> Tensor:
        """Return the colours (B, 3, s * h, s * w) in [0, 1] of latents (B, C, h, w)."""
        colours = F.conv2d(_padded(latents.cpu().float()), self.weights, self.offset)
        return F.pixel_shuffle(colours, self.divisions).clamp(0, 1)


def _padded(latents: Tensor) -> Tensor:
    """Return latents with their border repeated, so that each has neighbours."""
    return F.pad(latents, (_KERNEL // 2,) * 4, mode="replicate")


def _divisions(channels: int, reduction: int) -> int:
    """Return the largest power of two whose square, times three colours, is no more than the channels of a latent."""
    divisions = 1
    while 3 * (2 * divisions) ** 2 <= channels and 2 * divisions <= reduction:
        divisions *= 2
    return divisions


def _layout(model: Backend) -> tuple[int, int]:
    """Return the side in pixels and the number of square images that have enough latents."""
    cells = model.latent_shape(model.multiple, model.multiple)[-1]
    usual = model.native_size * cells // model.multiple
    side = model.multiple * -(-min(max(usual, _LEAST_CELLS), _MOST_CELLS) // cells)
    channels, height, width = model.latent_shape(side, side)
    points = max(_POINTS, _POINTS_PER_WEIGHT * channels * _KERNEL**2)
    return side, -(-points // (height * width))


def _random_images(count: int, side: int) -> Tensor:
    """Return images (count, 3, side, side) in [0, 1] of discs that cover each other, as objects in photographs do.

    The density of radii r falls as r**-3, by which their statistics are those of natural images at every scale (Lee,
    Mumford and Huang, 2001, doi 10.1023/A:1011109015675).
    """
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.rand(count, *shape, 1, 1, generator=generator, dtype=torch.float32, device="cpu")

    axis = torch.linspace(0, 1, _LEAF_SIDE, dtype=torch.float32, device="cpu")
    images = draw(3).expand(count, 3, _LEAF_SIDE, _LEAF_SIDE)
    least, largest = (radius**-2 for radius in _RADII)
    for _ in range(_LEAVES):
        distance = (axis - draw(1)) ** 2 + (axis[:, None] - draw(1)) ** 2
        images = torch.where(distance < 1 / (largest + (least - largest) * draw(1)), draw(3), images)
    return F.interpolate(images, (side, side), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


_FITTED: weakref.WeakKeyDictionary[Any, tuple[str, LatentColours]] = weakref.WeakKeyDictionary()
"""Maps by model, with the identity of the weights that they were fitted to."""
_FITTING = threading.Lock()


def preview_pixels(model: Backend, latents: Tensor) -> Tensor:
    """Return cheap pixels (B, 3, H, W) in [0, 1], float32 on the CPU, of clean latents (B, C, h, w) of a model.

    They come from :class:`LatentColours`, fitted at the first call for a model, at one to a few pixels for a latent.
    Where a latent is a pixel, the decoder itself is cheap and is called.
    """
    model = unwrap(model)
    if model.latent_shape(model.multiple, model.multiple)[1:] == (model.multiple, model.multiple):
        with torch.no_grad():
            return model.decode(latents).cpu().float()
    with _FITTING:
        identity, colours = _FITTED.get(model, (None, None))
        if colours is None or identity != model.identity:
            colours = LatentColours.fit(model)
            _FITTED[model] = model.identity, colours
    return colours(latents)
