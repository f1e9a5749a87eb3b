"""Models on pixels, unconditional or class-conditional (Ho et al., arXiv 2006.11239)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from diffusers import UNet2DModel
from torch import Tensor

from editkit import (
    Condition,
    ExecutionOptions,
    LoadingOptions,
    Point,
    PointBatch,
    WeightsUnavailable,
    latent_dtype,
    timestep_of,
    to_x0,
)

from .assembly import Assembled, Parts
from .class_labels import BlendedEmbedding, Classes
from .components import longest_side
from .inference import run_network
from .scheduler_config import grid_of, prediction_of, schedule_of

DEFAULT_SIDE = 256
"""Side of the training images in pixels, for networks whose configuration does not hold it."""


class PixelDdpm(Assembled):
    """Backend of UNets whose latents are the pixels themselves, in [-1, 1].

    For class-conditional models, a prompt is a class, by number or by its name in the folder's index.
    """

    execution = ExecutionOptions()
    loading_options = LoadingOptions()

    def __init__(
        self,
        *,
        unet: Any,
        names: Mapping[str, str],
        scheduler: dict[str, Any],
        name: str,
        identity: str,
        warnings: Sequence[str] = (),
    ) -> None:
        self.unet = unet
        self.classes: Classes | None = None
        if unet.class_embedding is not None:
            count = unet.config.num_class_embeds
            self.classes = Classes(count, count, names)
            unet.class_embedding = BlendedEmbedding(unet.class_embedding)
        self.provides = frozenset({"text"} if self.classes else ())
        self.name, self.identity = name, identity
        self.device, self.dtype = unet.device, unet.dtype
        self.schedule, self.grid = schedule_of(scheduler), grid_of(scheduler)
        self.prediction = prediction_of(scheduler)
        self.warnings = tuple(warnings)
        self.native_size = longest_side(unet.config.sample_size, DEFAULT_SIDE, "unet")
        self.multiple = 2 ** (len(unet.config.block_out_channels) - 1)

    @classmethod
    def from_parts(cls, parts: Parts, name: str) -> Self:
        unet = parts.network(UNet2DModel, "unet", changed=True)
        if unet.config.class_embed_type is not None:
            raise WeightsUnavailable(
                f"model {name}: the unet has the class_embed_type {unet.config.class_embed_type!r}: "
                "only models with num_class_embeds classes are supported"
            )
        return cls(
            unet=unet,
            names=parts.index.get("id2label") or {},
            scheduler=parts.scheduler(),
            name=name,
            identity=parts.identity,
            warnings=parts.warnings,
        )

    def set_execution(self, execution: ExecutionOptions, device: torch.device) -> None:
        if execution.compile:
            execution.compile_part(self.unet)
        self.execution = execution

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        return (self.unet.config.in_channels, height, width)

    def encode(self, pixels: Tensor) -> Tensor:
        return pixels.to(latent_dtype(self.dtype)) * 2 - 1

    def decode(self, latents: Tensor) -> Tensor:
        return (latents / 2 + 0.5).clamp(0, 1)

    def embed(self, prompts: Sequence[str]) -> Condition:
        """Return ``classes`` (B, rows), the share of each class, or nothing for unconditional models.

        Raises InvalidParameter for a prompt that is no class.
        """
        if self.classes is None:
            return {}
        return {"classes": self.classes.shares(prompts).to(self.device, self.dtype)}

    def denoise(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        timestep = timestep_of(self.schedule, point, x)
        predicted = run_network(self.unet, x.to(self.dtype), timestep, class_labels=condition.get("classes"))
        return to_x0(self.prediction, predicted, x, point)
