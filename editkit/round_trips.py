"""What the autoencoder last made of a picture, kept in memory for the next edit of the same picture."""

from __future__ import annotations

import dataclasses as dc
import weakref
from collections.abc import Callable

import torch
from torch import Tensor

from .backends import Backend

LARGEST = 3 * 2**22
"""Values of the pixels that are kept at most: of 2048 x 2048."""


@dc.dataclass
class RoundTrip:
    """The sources (S, 3, H, W) of an edit, their latents (S, C, h, w), and once it is known what these decode to."""

    model: Callable[[], Backend | None]
    identity: str
    sources: Tensor
    latents: Tensor
    decoded: Tensor | None = None

    def of(self, model: Backend, sources: Tensor) -> bool:
        """Whether this is what ``model`` makes of the very same pixels."""
        if self.model() is not model or self.identity != model.identity:
            return False
        kinds = [(one.shape, one.dtype, one.device) for one in (self.sources, sources)]
        return kinds[0] == kinds[1] and torch.equal(self.sources, sources)


LAST: list[RoundTrip] = []
"""The last one."""


def round_trip(model: Backend, sources: Tensor) -> RoundTrip:
    """The round trip of sources as far as it is known: they are encoded, unless the last were the same."""
    for known in LAST:
        if known.of(model, sources):
            return known
    made = RoundTrip(reference(model), model.identity, sources, model.encode(sources))
    if sources.numel() <= LARGEST:
        LAST[:] = [made]
    return made


def reference(model: Backend) -> Callable[[], Backend | None]:
    """The model as long as anybody else has it; of one that cannot be referred to so nothing is known again."""
    try:
        return weakref.ref(model)
    except TypeError:
        return lambda: None
