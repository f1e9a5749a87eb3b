"""Between pixels and the latents of a model: its autoencoder."""

from __future__ import annotations

import dataclasses as dc
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor

from editkit import WeightsUnavailable

from .loading import load_part

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
        return cls(load_part(kind, folder, device=device, dtype=careful(config, dtype)))

    @property
    def channels(self) -> int:
        return self.net.config.latent_channels  # type: ignore[no-any-return]

    @property
    def reduction(self) -> int:
        """Pixels on a side of what one latent stands for."""
        config = self.net.config
        levels = config.num_decoder_blocks if isinstance(self.net, AutoencoderTiny) else config.block_out_channels
        return 2 ** (len(levels) - 1)  # type: ignore[no-any-return]

    @property
    def shift(self) -> Tensor | float:
        mean = self.net.config.get("latents_mean")
        return (self.net.config.get("shift_factor") or 0.0) if mean is None else self.by_channel(mean)

    @property
    def scale(self) -> Tensor | float:
        factor, deviation = self.net.config.scaling_factor, self.net.config.get("latents_std")
        return factor if deviation is None else factor / self.by_channel(deviation)  # type: ignore[no-any-return]

    def by_channel(self, numbers: list[float]) -> Tensor:
        return torch.tensor(numbers, dtype=self.net.dtype, device=self.net.device)[:, None, None]

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) in [0, 1] to latents (B, C, h, w): their mean where it gives a distribution."""
        encoded = self.net.encode(pixels.to(self.net.dtype) * 2 - 1)
        mean: Tensor = encoded.latents if isinstance(self.net, AutoencoderTiny) else encoded.latent_dist.mode()
        return (mean - self.shift) * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) to pixels (B, 3, H, W), clamped to [0, 1]."""
        decoded: Tensor = self.net.decode(self.unscaled(latents)).sample
        return (decoded / 2 + 0.5).clamp(0, 1)

    def unscaled(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) as the autoencoder itself gave them."""
        return latents.to(self.net.dtype) / self.scale + self.shift


def careful(config: Mapping[str, Any], dtype: torch.dtype) -> torch.dtype:
    """In what an autoencoder runs: large ones overflow in float16, and run in float32 unless they say they need not."""
    upcast = config.get("force_upcast", config.get("_class_name") == "AutoencoderKL")
    return torch.float32 if upcast and dtype is torch.float16 else dtype
