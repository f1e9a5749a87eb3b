"""What all models between an autoencoder's latents have in common, whatever network they have."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from editkit import Schedule

from .autoencoder import Autoencoder
from .scheduling import grid_of, prediction_of, schedule_of


class LatentModel:
    """Base of backends: a network ``net`` on latents (B, C, h, w), with the scheduler's configuration of its folder.

    ``schedule`` takes the place of the scheduler's, where that is read in another way.
    """

    def __init__(
        self,
        net: Any,
        autoencoder: Autoencoder,
        scheduler: dict[str, Any],
        *,
        name: str,
        identity: str,
        schedule: Schedule | None = None,
    ) -> None:
        self.autoencoder = autoencoder
        self.name, self.identity = name, identity
        self.device, self.dtype = net.device, net.dtype
        self.schedule: Schedule = schedule_of(scheduler) if schedule is None else schedule
        self.grid = grid_of(scheduler)
        self.prediction = prediction_of(scheduler)

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        reduction = self.autoencoder.reduction
        return (self.autoencoder.channels, height // reduction, width // reduction)

    def encode(self, pixels: Tensor) -> Tensor:
        return self.autoencoder.encode(pixels).to(self.dtype)

    def decode(self, latents: Tensor) -> Tensor:
        return self.autoencoder.decode(latents)
