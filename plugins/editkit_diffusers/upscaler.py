"""Models shaped like the Stable Diffusion x4 upscaler, which see a smaller picture (arXiv 2112.10752, section 4.4)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editkit import Condition, InvalidParameter, Point, PointBatch, add_noise

from .scheduler_config import read_config, schedule_of
from .stable_diffusion import COMPONENTS, StableDiffusion, load_parts

MOST_NOISE = 350
"""Highest noise level where a folder does not name one, as diffusers has it."""


class StableDiffusionUpscaler(StableDiffusion):
    """A UNet that sees, beside its latents, a picture of their size in pixels and how noisy that is; a backend.

    Told of no picture, it sees a grey one as noisy as it was trained for, and so draws from noise as any other model.
    """

    def __init__(self, *, low_res_scheduler: dict[str, Any], most_noise: int, **parts: Any) -> None:
        super().__init__(**parts)
        self.provides = frozenset({"text", "upscaling"})
        self.factor = self.reduction
        self.noising = schedule_of(low_res_scheduler)
        self.most_noise = most_noise

    @classmethod
    def from_folder(
        cls, folder: Path, *, name: str, device: torch.device, dtype: torch.dtype, weights: Path | None = None
    ) -> StableDiffusionUpscaler:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        return cls(
            low_res_scheduler=read_config(folder, "low_res_scheduler"),
            most_noise=index.get("max_noise_level", MOST_NOISE),
            **load_parts(COMPONENTS, folder, weights, name=name, device=device, dtype=dtype),
        )

    def upscaling_condition(self, pixels: Tensor, noise_level: int, noise: Tensor) -> Condition:
        if not 0 <= noise_level <= self.most_noise:
            raise InvalidParameter(f"noise_level={noise_level} is not allowed: this model takes 0 to {self.most_noise}")
        seen = add_noise(pixels * 2 - 1, noise, self.noising.point(noise_level))
        return {"seen": seen, "noise_level": torch.full((len(seen),), noise_level, device=seen.device)}

    def denoise(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        grey = {
            "seen": x.new_zeros(len(x), 3, *x.shape[-2:]),
            "noise_level": torch.full((len(x),), self.most_noise, device=x.device),
        }
        return super().denoise(x, point, {**grey, **condition})
