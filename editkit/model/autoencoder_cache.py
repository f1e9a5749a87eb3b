"""Caches in memory: the autoencoder's round trips of the last images, and the pixels of one edit's latents."""

from __future__ import annotations

import dataclasses as dc
import weakref
from collections.abc import Callable

import torch
from torch import Tensor

from ..diffusion.source_rows import version_of
from .backend import Backend
from .batching import Grouping, grouping_of, unwrap
from .capabilities import full_name
from .finite import check_returned, is_finite, part_failed

MOST_VALUES = 3 * 2**22
"""Limit on the cached pixel values: one image of 2048 x 2048 pixels, or 16 of 512 x 512."""


@dc.dataclass
class RoundTrip:
    """Sources (S, 3, H, W) of an edit, their latents (S, C, h, w), and the decoded latents once computed."""

    model: Callable[[], Backend | None]
    identity: str
    grouping: Grouping
    """How the autoencoder's calls are evaluated, which changes the last bits."""
    sources: Tensor
    latents: Tensor
    decoded: Tensor | None = None

    def matches(self, model: Backend, sources: Tensor) -> bool:
        """Return whether this is the round trip of equal pixels by the same model."""
        if self.model() is not unwrap(model) or (self.identity, self.grouping) != (model.identity, grouping_of(model)):
            return False
        kinds = [(tensor.shape, tensor.dtype, tensor.device) for tensor in (self.sources, sources)]
        return kinds[0] == kinds[1] and torch.equal(self.sources, sources)


ROUND_TRIPS: list[RoundTrip] = []
"""The last round trips, the latest last."""


def round_trip(model: Backend, sources: Tensor) -> RoundTrip:
    """Return the round trip of sources from the cache, or encode them.

    Raises EditkitError if a latent is NaN or infinite.
    """
    for cached in ROUND_TRIPS:
        if cached.matches(model, sources):
            return cached
    shape = (len(sources), *model.latent_shape(sources.shape[3], sources.shape[2]))
    latents = check_returned(model.encode(sources), "encode", model, shape, sources.dtype)
    if not is_finite(latents):
        raise part_failed("autoencoder", full_name(model))
    computed = RoundTrip(_weak_reference(unwrap(model)), model.identity, grouping_of(model), sources, latents)
    ROUND_TRIPS.append(computed)
    while sum(trip.sources.numel() for trip in ROUND_TRIPS) > MOST_VALUES:
        del ROUND_TRIPS[0]
    return computed


def _weak_reference(model: Backend) -> Callable[[], Backend | None]:
    """Return a weak reference to the model. Models that do not support weak references are never cached."""
    try:
        return weakref.ref(model)
    except TypeError:
        return lambda: None


@dc.dataclass(frozen=True)
class _Decoding:
    """Decoded latents, a copy of them, and their pixels."""

    latents: Tensor
    version: int
    copy: Tensor
    pixels: Tensor

    def is_of(self, latents: Tensor) -> bool:
        """Return whether these are the decoded latents, which nothing has written into since."""
        return self.latents is latents and self.version == version_of(latents)


class DecodedLatents:
    """Pixels by latents: equal latents are decoded once."""

    def __init__(self) -> None:
        self._decodings: list[_Decoding] = []
        self._on_host: dict[int, tuple[Tensor, Tensor]] = {}

    def on_host(self, pixels: Tensor) -> Tensor:
        """Return pixels in float32 in main memory, copied once; the tensor is shared: do not write into it."""
        if id(pixels) not in self._on_host:
            self._on_host[id(pixels)] = pixels, pixels.float().cpu()
        return self._on_host[id(pixels)][1]

    def add(self, latents: Tensor, pixels: Tensor) -> None:
        """Add latents (B, C, h, w) and their pixels (B, 3, h, w)."""
        # A copy: the caller may write into the latents.
        self._decodings.append(_Decoding(latents, version_of(latents), latents.clone(), pixels))

    def find(self, latents: Tensor) -> Tensor | None:
        """Return the pixels of equal latents, None if there are none.

        All comparisons are one transfer, because each makes the host wait for the device; the same tensor needs none.
        """
        for one in self._decodings:
            if one.is_of(latents):
                return one.pixels
        similar = [one for one in self._decodings if _kind(one.copy) == _kind(latents)]
        if not similar:
            return None
        is_equal = torch.stack([(one.copy == latents).all() for one in similar]).tolist()
        return next((one.pixels for one, same in zip(similar, is_equal, strict=True) if same), None)


def _kind(latents: Tensor) -> tuple[torch.Size, torch.dtype]:
    return latents.shape, latents.dtype
