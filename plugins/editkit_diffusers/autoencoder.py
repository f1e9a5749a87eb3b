"""Between pixels and the latents of a model: its autoencoder."""

from __future__ import annotations

import dataclasses as dc
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor

from editkit import WeightsUnavailable

from .components import load_part

_UNTILED_SIDE = 512
"""Pixels of a side that need no tiles whatever a model was trained on: what smaller ones save is not worth a seam."""
KINDS = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}


@dc.dataclass(frozen=True)
class Autoencoder:
    """An ``AutoencoderKL`` or ``AutoencoderTiny``, and the scale and shift at which a network sees its latents."""

    net: Any

    @classmethod
    def from_folder(cls, folder: Path, *, device: torch.device, dtype: torch.dtype) -> Autoencoder:
        """Load the autoencoder in ``folder``; raises WeightsUnavailable where it is damaged or of another kind."""
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise WeightsUnavailable(f"{folder / 'config.json'} cannot be read: {error}") from error
        kind = KINDS.get(config.get("_class_name"))
        if kind is None:
            raise WeightsUnavailable(f"{folder} is a {config.get('_class_name')}; supported: {', '.join(KINDS)}")
        return cls(load_part(kind, folder, device=device, dtype=safe_dtype(config, dtype)))

    @property
    def channels(self) -> int:
        return self.net.config.latent_channels  # type: ignore[no-any-return]

    @property
    def reduction(self) -> int:
        """Pixels on a side of what one latent stands for."""
        config = self.net.config
        levels = config.num_decoder_blocks if isinstance(self.net, AutoencoderTiny) else config.block_out_channels
        return 2 ** (len(levels) - 1)  # type: ignore[no-any-return]

    def tile(self, side: int) -> None:
        """Work in tiles where pictures are larger than ``side`` pixels, and on one picture at a time."""
        # The overlap of tiles is a quarter of one, and must be whole latents.
        latents = 4 * math.ceil(max(side, _UNTILED_SIDE) / self.reduction / 4)
        self.net.tile_latent_min_size, self.net.tile_sample_min_size = latents, latents * self.reduction
        self.net.enable_tiling()
        self.net.enable_slicing()

    def shift(self, latents: Tensor) -> Tensor | float:
        mean = self.net.config.get("latents_mean")
        return (self.net.config.get("shift_factor") or 0.0) if mean is None else _per_channel(mean, latents)

    def scale(self, latents: Tensor) -> Tensor | float:
        factor, deviation = self.net.config.scaling_factor, self.net.config.get("latents_std")
        return factor if deviation is None else factor / _per_channel(deviation, latents)  # type: ignore[no-any-return]

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) in [0, 1] to latents (B, C, h, w): their mean where it gives a distribution."""
        encoded = self.net.encode(pixels.to(self.net.dtype) * 2 - 1)
        mean: Tensor = encoded.latents if isinstance(self.net, AutoencoderTiny) else encoded.latent_dist.mode()
        return ((mean - self.shift(mean)) * self.scale(mean)).contiguous()

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) to pixels (B, 3, H, W), clamped to [0, 1]."""
        decoded: Tensor = self.net.decode(self.unscale(latents)).sample
        return (decoded / 2 + 0.5).clamp(0, 1).contiguous()

    def unscale(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) as the autoencoder itself gave them."""
        given = latents.to(self.net.dtype)
        return given / self.scale(given) + self.shift(given)


def _per_channel(numbers: list[float], latents: Tensor) -> Tensor:
    """Numbers that broadcast over latents (B, C, h, w)."""
    return latents.new_tensor(numbers)[:, None, None]


def safe_dtype(config: Mapping[str, Any], dtype: torch.dtype) -> torch.dtype:
    """Dtype that an autoencoder runs in: float32 in place of float16, in which large ones overflow.

    An autoencoder whose configuration says that it needs no upcast keeps float16.
    """
    upcast = config.get("force_upcast", config.get("_class_name") == "AutoencoderKL")
    return torch.float32 if upcast and dtype is torch.float16 else dtype
