"""Colours of latents by a linear map: a preview without the autoencoder's decoder."""

from __future__ import annotations

import threading
import weakref
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...diffusion.transfer import to_device
from ...model.backend import Backend
from ...model.batching import unwrap

_CELLS = 16
"""Latents along a side of the images to which a map is fitted."""
_IMAGES = 2
"""Number of these images."""


class LatentColours(NamedTuple):
    """Linear map from the latents of an autoencoder to colours in [0, 1]."""

    weights: Tensor
    """(C, 3), float32 on the CPU."""
    offset: Tensor
    """(3,)"""

    @classmethod
    def fit(cls, model: Backend) -> LatentColours:
        """Fit the map of a model by least squares: one call of its encoder and one of its decoder.

        The images are random colours on several scales, equal in every process, so that the map depends on the weights
        of the autoencoder alone.
        """
        with torch.no_grad():
            pixels = _random_images(_side(model))
            latents = model.encode(to_device(pixels, model.device, model.dtype))
            decoded = model.decode(latents)
            height, width = latents.shape[-2:]
            colours = F.adaptive_avg_pool2d(decoded.float(), (height, width)).cpu()
        inputs = _with_one(latents.cpu().double())
        solution = torch.linalg.lstsq(inputs, _as_rows(colours.double()), driver="gelsd").solution.float()
        return cls(solution[:-1], solution[-1])

    def __call__(self, latents: Tensor) -> Tensor:
        """Return the colours (B, 3, h, w) in [0, 1] of latents (B, C, h, w)."""
        colours = torch.einsum("bchw,cd->bdhw", latents.float().cpu(), self.weights)
        return (colours + self.offset[:, None, None]).clamp(0, 1)


def _side(model: Backend) -> int:
    """Return the side in pixels of a square image of at least :data:`_CELLS` latents along a side."""
    cells = model.latent_shape(model.multiple, model.multiple)[-1]
    return model.multiple * -(-_CELLS // cells)


def _random_images(side: int) -> Tensor:
    """Return images (B, 3, side, side) in [0, 1] of smooth random colours on several scales."""
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros(_IMAGES, 3, side, side, dtype=torch.float32, device="cpu")
    for cells in (1, 2, 4, 8):
        colours = torch.randn(_IMAGES, 3, cells, cells, generator=generator, dtype=torch.float32, device="cpu")
        images += F.interpolate(colours, (side, side), mode="bicubic", align_corners=False)
    return torch.sigmoid(images)


def _as_rows(values: Tensor) -> Tensor:
    """Return values (B, C, h, w) as rows (B * h * w, C)."""
    return values.movedim(1, -1).flatten(0, -2)


def _with_one(latents: Tensor) -> Tensor:
    """Return latents as rows with a column of ones."""
    rows = _as_rows(latents)
    return torch.cat([rows, torch.ones(len(rows), 1, dtype=rows.dtype, device=rows.device)], 1)


_FITTED: weakref.WeakKeyDictionary[Any, tuple[str, LatentColours]] = weakref.WeakKeyDictionary()
"""Maps by model, with the identity of the weights that they were fitted to."""
_FITTING = threading.Lock()


def preview_pixels(model: Backend, latents: Tensor) -> Tensor:
    """Return cheap pixels (B, 3, h, w) in [0, 1], float32 on the CPU, of clean latents (B, C, h, w) of a model.

    A model of latents computes them at the size of the latents by its :class:`LatentColours`, fitted at the first call.
    Where a latent is a pixel the decoder itself is cheap and is called.
    """
    model = unwrap(model)
    if model.latent_shape(model.multiple, model.multiple)[1:] == (model.multiple, model.multiple):
        with torch.no_grad():
            return model.decode(latents).float().cpu()
    with _FITTING:
        identity, colours = _FITTED.get(model, (None, None))
        if colours is None or identity != model.identity:
            colours = LatentColours.fit(model)
            _FITTED[model] = model.identity, colours
    return colours(latents)
