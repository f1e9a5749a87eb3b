"""Unconditional models that work on pixels (Ho et al., arXiv 2006.11239)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from torch import Tensor

from editkit import Condition, Point, identity_of, to_x0

from .loading import load_part
from .scheduling import grid_of, prediction_of, read_config, schedule_of


class PixelDdpm:
    """A UNet whose latents are the pixels themselves, in [-1, 1]; a backend."""

    provides: frozenset[str] = frozenset()

    def __init__(self, *, unet: Any, scheduler: dict[str, Any], name: str, identity: str) -> None:
        self.unet = unet
        self.name, self.identity = name, identity
        self.device, self.dtype = unet.device, unet.dtype
        self.schedule, self.grid = schedule_of(scheduler), grid_of(scheduler)
        self.prediction = prediction_of(scheduler)
        side = unet.config.sample_size
        self.native_size = max(side) if isinstance(side, (list, tuple)) else side
        self.multiple = 2 ** (len(unet.config.block_out_channels) - 1)

    @classmethod
    def from_folder(cls, folder: Path, *, name: str, device: torch.device, dtype: torch.dtype) -> PixelDdpm:
        """Load a diffusers folder; raises WeightsUnavailable where it is damaged."""
        unet = load_part(UNet2DModel, folder / "unet", device=device, dtype=dtype)
        return cls(unet=unet, scheduler=read_config(folder), name=name, identity=identity_of(folder))

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        return (self.unet.config.in_channels, height, width)

    def encode(self, pixels: Tensor) -> Tensor:
        return pixels.to(self.dtype) * 2 - 1

    def decode(self, latents: Tensor) -> Tensor:
        return (latents / 2 + 0.5).clamp(0, 1)

    def embed(self, prompts: Sequence[str]) -> Condition:
        return {}

    def denoise(self, x: Tensor, point: Point, condition: Condition) -> Tensor:
        timestep = torch.tensor(self.schedule.timestep(point), device=x.device)
        predicted = self.unet(x, timestep, return_dict=False)[0]
        return to_x0(self.prediction, predicted, x, point)
