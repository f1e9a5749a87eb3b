"""Models shaped like FLUX.1 Depth and FLUX.1 Canny, whose network takes a condition map as channels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from editkit import Condition, InvalidParameter

from .controlnets.attached import AttachedControlNet, attach, attached_to
from .flux import Flux
from .flux_tokens import pack, token_positions


class FluxControl(Flux):
    """Backend of FLUX.1 Depth and Canny, whose tokens also hold the latents of a condition map.

    The map is attached as that of a ControlNet, without weights. Without one, nothing is estimated.
    """

    provides: frozenset[str] = frozenset({"text", "adapters", "attention", "style", "controlnet", "map-channels"})
    published: ClassVar[Mapping[str, float]] = MappingProxyType({"steps": 30, "guidance": 10.0})
    """Usual settings of Depth; the files of Canny, with 50 steps and a guidance of 30, are like those of Depth."""

    @property
    def extra_channels(self) -> int:
        return self.autoencoder.channels

    @contextlib.contextmanager
    def with_controlnet(self, folder: Path | None, hint: Tensor, **options: Any) -> Iterator[None]:
        """Return a context in which the network takes a condition map; there are no options of its strength."""
        if attached_to(self):
            raise InvalidParameter(f"a second condition map is not allowed: the model {self.name!r} takes one")
        with attach(self, self.encode(hint.to(self.device)).to(self.dtype)):
            yield

    @property
    def controlnets(self) -> list[AttachedControlNet]:
        """No networks: the map is an input."""
        return []

    def inputs(self, x: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        maps = attached_to(self)
        if not maps:
            raise InvalidParameter(
                f"the model {self.name!r} needs a condition map for every image: use control, or add "
                "--attach controlnet:kind=..."
            )
        return pack(torch.cat([x, maps[0].expand(len(x), -1, -1, -1)], 1)), token_positions(x)
