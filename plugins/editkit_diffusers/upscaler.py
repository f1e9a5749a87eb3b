"""Models shaped like the Stable Diffusion x4 upscaler (arXiv 2112.10752, section 4.4)."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from editkit import Condition, InvalidParameter, Point, PointBatch, WeightsUnavailable, add_noise

from .assembly import Parts
from .scheduler_config import schedule_of
from .stable_diffusion import TEXTS, StableDiffusion, backend_parts

IMAGE_CHANNELS = 3
"""Input channels of the smaller image."""
MAX_NOISE_LEVEL = 350
"""Default of diffusers for folders without a maximum noise level."""


class StableDiffusionUpscaler(StableDiffusion):
    """Backend of UNets conditioned on an image of the latents' size in pixels, and on its noise level.

    Without an image, the condition is a grey image at the maximum noise level, and the model generates like any other.
    """

    reads_noise_level = True

    def __init__(self, *, low_res_scheduler: dict[str, Any], max_noise_level: int, **parts: Any) -> None:
        super().__init__(**parts)
        self.provides = frozenset({"text", "upscaling"})
        self.factor = self.reduction
        self.low_res_schedule = schedule_of(low_res_scheduler)
        self.max_noise_level = max_noise_level

    def allowed_extra_channels(self) -> tuple[int, ...]:
        return (IMAGE_CHANNELS,)

    @classmethod
    def from_parts(cls, parts: Parts, name: str) -> Self:
        most = parts.index.get("max_noise_level", MAX_NOISE_LEVEL)
        if type(most) is not int or most < 0:
            raise WeightsUnavailable(f"model {name}: max_noise_level={str(most)[:60]!r} is no whole number from 0 on")
        return cls(
            name=name,
            low_res_scheduler=parts.scheduler("low_res_scheduler"),
            max_noise_level=most,
            **backend_parts(parts, TEXTS),
        )

    def upscaling_condition(self, pixels: Tensor, noise_level: int, noise: Tensor) -> Condition:
        if not 0 <= noise_level <= self.max_noise_level:
            raise InvalidParameter(
                f"noise_level={noise_level} is not allowed: this model takes 0 to {self.max_noise_level}"
            )
        image = add_noise(pixels * 2 - 1, noise, self.low_res_schedule.point(noise_level)).to(self.dtype)
        return {"image_latents": image, "noise_level": torch.full((len(image),), noise_level, device=image.device)}

    def denoise(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        grey = {
            "image_latents": x.new_zeros(len(x), 3, *x.shape[-2:], dtype=self.dtype),
            "noise_level": torch.full((len(x),), self.max_noise_level, device=x.device),
        }
        return super().denoise(x, point, {**grey, **condition})
