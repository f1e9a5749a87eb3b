"""Sources of an edit as pixels, as latents and as references, each computed once."""

from __future__ import annotations

import functools

import torch
from PIL import Image
from torch import Tensor

from ..diffusion.denoiser import latent_dtype
from ..diffusion.transfer import to_device
from ..images.blending.pull_push_fill import erase
from ..images.canvas import Canvas
from ..images.masks.tensors import mask_to_latents
from ..images.tensors import to_image, to_tensor
from ..model.autoencoder_cache import DecodedLatents, RoundTrip, round_trip
from ..model.backend import Backend
from ..model.capabilities import full_name
from ..model.finite import check_returned, decoding_failed, is_finite
from ..model.references import fit_references
from ..registry.params import Params


class EncodesSources:
    """Part of a :class:`Session` that has its sources in the forms that the model takes."""

    model: Backend
    params: Params
    operation: str
    canvas: Canvas
    pixels: Tensor
    mask: Tensor | None
    visible: Tensor
    erased: bool
    encoded: Tensor | None
    round_trip: RoundTrip | None
    pixel_cache: DecodedLatents

    @functools.cached_property
    def sources(self) -> Tensor:
        """Pixels (S, 3, h, w) of :attr:`visible` in [0, 1] on the padded canvas."""
        return to_device(self.canvas.to_model(self.visible), self.model.device, latent_dtype(self.model.dtype))

    @functools.cached_property
    def references(self) -> list[Image.Image]:
        """Images that an edit model reads, RGB: the sources, then those of the parameter ``reference``."""
        further = [to_tensor(image)[0] for image in getattr(self.params, "reference", ())]
        return fit_references(self.model, [to_image(one) for one in (*self.visible, *further)])

    @functools.cached_property
    def latent_mask(self) -> Tensor | None:
        """Mask at latent size, (1, 1, h, w) in [0, 1]; None without a mask."""
        if self.mask is None:
            return None
        _, height, width = self.model.latent_shape(*self.canvas.padded)
        mask = mask_to_latents(self.mask, self.canvas, (height, width))
        return to_device(mask, self.model.device, latent_dtype(self.model.dtype))

    @property
    def latents(self) -> Tensor:
        """Latents (S, C, h, w) of the sources, encoded once."""
        # Not a cached_property: before Python 3.12 that holds a lock, and edits in lock step would wait for each other.
        if self.encoded is None:
            self.round_trip = round_trip(self.model, self.sources)
            self.encoded = self.round_trip.latents.clone()  # an operation may write into it
            if self.round_trip.decoded is not None:
                self.pixel_cache.add(self.round_trip.latents, self.round_trip.decoded)
        return self.encoded

    def limit(self, mask: Tensor) -> None:
        """Replace the mask by another one, (1, 1, H, W) in [0, 1]."""
        self.mask = mask
        self.__dict__.pop("latent_mask", None)

    def erase(self) -> None:
        """Continue the surroundings over the fully masked pixels before the sources are encoded.

        An edit that starts from noise there needs none of them, and the autoencoder would spread them beyond the mask.
        """
        if self.mask is None or self.erased:
            return
        self.visible, self.erased = erase(self.pixels, self.mask), True
        self.encoded = self.round_trip = None
        self.__dict__.pop("sources", None)
        self.__dict__.pop("references", None)

    def _decode(self, latents: Tensor) -> Tensor:
        """Return the pixels of latents; raises PluginFailure if the model returns others than those of the canvas."""
        pixels = self.model.decode(latents)
        if not isinstance(pixels, Tensor) or latents.shape[1:] == self.model.latent_shape(*self.canvas.padded):
            shape, dtype = (len(latents), 3, *self.canvas.padded[::-1]), getattr(pixels, "dtype", latents.dtype)
            check_returned(pixels, "decode", self.model, shape, dtype)
        return pixels

    def decode_cached(self, latents: Tensor) -> Tensor:
        """Return the pixels (B, 3, h, w) in [0, 1] of latents on the padded canvas; equal latents are decoded once.

        It is shared: do not write into it. Raises PluginFailure if a latent, EditkitError if a pixel is not finite.
        """
        pixels = self.pixel_cache.find(latents)
        if pixels is None:
            pixels = self._decode(latents)
            if not is_finite(latents, pixels):
                raise decoding_failed(self.operation, full_name(self.model), latents)
            self.pixel_cache.add(latents, pixels)
        trip = self.round_trip
        if trip is not None and trip.decoded is None and latents is self.encoded and torch.equal(trip.latents, latents):
            trip.decoded = pixels
        return pixels
