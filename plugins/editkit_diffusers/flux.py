"""Models shaped like FLUX.1, FLUX.1 Fill and FLUX.1 Kontext (arXiv 2506.15742)."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import FluxTransformer2DModel
from diffusers.pipelines.flux.pipeline_flux_kontext import PREFERRED_KONTEXT_RESOLUTIONS
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel, T5EncoderModel

from editkit import (
    Condition,
    InvalidParameter,
    Point,
    PointBatch,
    References,
    WeightsUnavailable,
    embed_cached,
    timestep_of,
)

from .assembly import Parts
from .autoencoder import Autoencoder
from .block_cache import BlockCaching, run_caching
from .components import longest_side
from .controlnets.attached import sum_residuals
from .controlnets.files import load_controlnet
from .controlnets.flux import FluxControlNet, flux_family
from .flux_tokens import PATCH, pack, token_positions, unpack
from .scheduler_config import RAMPS, flow_of
from .style.attached import Style, Styles
from .style.ip_adapter import FLUX, IPAdapters, IPAdapterStyle, styled_network
from .style.model import StyledModel
from .style.redux import Redux, ReduxStyle, is_redux
from .text_encoder import TextEncoder

CLIP, T5 = "text_encoder", "text_encoder_2"
TOKENS = 512
"""Length of a prompt in tokens of the T5 encoder."""
TIMESTEPS = 1000
"""Timesteps in a unit of the network's, as in its pipelines, whatever number the scheduler has."""
LATENTS = 128
"""Latents along a side of the training images."""
KONTEXT_SIDE = 1024
"""Side of the square among the sizes of the training images of Kontext."""


class Flux(BlockCaching, StyledModel):
    """Backend of transformers over tokens of latents and of text.

    If guidance is distilled, the guidance scale is an input of the network; otherwise guidance uses two estimates.
    """

    statistics = ("shift_factor",)
    provides: frozenset[str] = frozenset({"text", "adapters", "attention", "style", "controlnet"})
    published: ClassVar[Mapping[str, float]] = MappingProxyType({"steps": 28, "guidance": 3.5})
    """Usual settings of the model that is not distilled for few steps."""

    def __init__(
        self,
        *,
        transformer: Any,
        autoencoder: Autoencoder,
        texts: Mapping[str, TextEncoder],
        scheduler: dict[str, Any],
        **labels: Any,
    ) -> None:
        schedule = flow_of(scheduler, PATCH)
        super().__init__(transformer, autoencoder, scheduler, texts=texts, schedule=schedule, **labels)
        self.transformer = transformer
        self.ip_adapters, self.redux = IPAdapters(FLUX), Redux()
        sampler, self.usual = self.usual, {**self.published, **self.usual}
        # Its pipelines set evenly spaced sigmas, whatever the scheduler's own spacing is.
        ramped = self.grid.spacing in RAMPS
        self.grid = dc.replace(self.grid, spacing=self.grid.spacing if ramped else "trailing", ramp_within="trailing")
        self.provides = self.provides | {"block-cache"}
        if transformer.config.guidance_embeds:
            self.provides = self.provides | {"distilled-guidance"}
        elif not scheduler.get("use_dynamic_shifting"):  # schnell, which was distilled for four steps
            self.usual = {"steps": 4, "guidance": 1.0, **sampler}
        # The configuration of the network has no training size, nor has that of a tiny autoencoder.
        side = autoencoder.net.config.get("sample_size")
        self.native_size = longest_side(side, LATENTS * autoencoder.reduction, "vae")
        self.multiple = PATCH * autoencoder.reduction
        self.check_channels()
        pooled, text = texts[CLIP].net.config.hidden_size, texts[T5].net.config.d_model
        head, axes = transformer.config.attention_head_dim, sum(transformer.config.axes_dims_rope)
        self.check_inputs("transformer", head, axes, "positions (attention_head_dim of axes_dims_rope)")
        self.check_inputs("transformer", transformer.config.pooled_projection_dim, pooled, "pooled text")
        self.check_inputs("transformer", transformer.config.joint_attention_dim, text, "T5 text encoder")

    @property
    def extra_channels(self) -> int:
        """Input channels of the network beside those of its latents."""
        return 0

    def check_channels(self) -> None:
        """Raise WeightsUnavailable if the network has other input or output channels than this family."""
        config, latents = self.transformer.config, self.autoencoder.channels
        estimated = (config.out_channels or config.in_channels) * config.patch_size**2
        pairs = (
            ("channels", config.in_channels, latents + self.extra_channels),
            ("output channels", estimated, latents),
        )
        for kind, channels, per_latent in pairs:
            if channels != PATCH**2 * per_latent:
                raise WeightsUnavailable(
                    f"model {self.name}: the transformer has {channels} {kind} per token and its pipeline "
                    f"{PATCH**2 * per_latent}: its folder names a pipeline of another family"
                )

    @classmethod
    def from_parts(cls, parts: Parts, name: str) -> Self:
        return cls(
            transformer=parts.network(FluxTransformer2DModel, "transformer"),
            autoencoder=parts.autoencoder(),
            texts={
                CLIP: parts.text_encoder(CLIP, CLIPTextModel),
                T5: parts.text_encoder(T5, T5EncoderModel, TOKENS),
            },
            scheduler=parts.scheduler(),
            name=name,
            identity=parts.identity,
            warnings=parts.warnings,
        )

    def embed(self, prompts: Sequence[str]) -> Condition:
        """Return ``text`` (B, tokens, D), ``pooled`` (B, P) and, if guidance is distilled, ``guidance`` (B,)."""
        text, pooled = self.texts[T5](prompts).last_hidden_state, self.texts[CLIP](prompts).pooler_output
        condition = {"text": text.to(self.dtype), "pooled": pooled.to(self.dtype)}
        return self.with_guidance_scale(condition, 1.0) if "distilled-guidance" in self.provides else condition

    def with_guidance_scale(self, condition: Condition, scale: float) -> Condition:
        rows = len(condition["text"])
        return {**condition, "guidance": torch.full((rows,), scale, dtype=torch.float32, device=self.device)}

    def word_encoders(self) -> Mapping[str, int]:
        return {T5: 0}

    def load_style(self, weights: Path, image: Image.Image, *, mask: Tensor | None = None, **options: Any) -> Style:
        if mask is not None:
            raise InvalidParameter("style:mask= is not allowed: styles of FLUX.1 act on the whole image; leave it out")
        source = self.redux if is_redux(weights) else self.ip_adapters
        return source.style(self, weights, image, **options)

    def predict(
        self, x: Tensor, point: Point | PointBatch, condition: Condition, styles: Styles, roles: Sequence[int]
    ) -> Tensor:
        height, width = x.shape[-2:]
        tokens, positions = self.inputs(x, condition)
        further = [style.tokens.expand(len(x), -1, -1) for style in styles if isinstance(style, ReduxStyle)]
        text = torch.cat([condition["text"], *further], 1)
        conditions = {
            "timestep": timestep_of(self.schedule, point, x).expand(len(x)) / TIMESTEPS,
            "guidance": condition.get("guidance"),
            "encoder_hidden_states": text,
            "pooled_projections": condition["pooled"],
            "img_ids": positions,
            "txt_ids": positions.new_zeros(text.shape[1], 3),
        }
        residuals = sum_residuals(self.controlnets, tokens, point, conditions)
        adapters = [style for style in styles if isinstance(style, IPAdapterStyle)]
        net = styled_network(adapters) if adapters else self.transformer
        styled = {"ip_adapter_image_embeds": [style.rows(roles) for style in adapters]} if adapters else None
        predicted = run_caching(net, tokens, **conditions, **residuals, joint_attention_kwargs=styled)
        return unpack(predicted, height, width)

    def load_controlnet(self, location: Path) -> FluxControlNet:
        family = flux_family(self.transformer)
        net = load_controlnet(location, family, device=self.device, dtype=self.dtype)
        return FluxControlNet(net, self.transformer, self.autoencoder)

    def inputs(self, x: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """Return the tokens (B, T, D) of latents and their positions (T, 3)."""
        return pack(x), token_positions(x)


class FluxFill(Flux):
    """Backend of FLUX.1 Fill, whose tokens also hold the mask and the latents of the masked image.

    Without an inpainting condition, everything is masked, and the model generates like any other.
    """

    provides: frozenset[str] = frozenset({"text", "adapters", "attention", "style", "inpainting"})
    published: ClassVar[Mapping[str, float]] = MappingProxyType({"steps": 50, "guidance": 30.0})

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self._blank_latents: dict[tuple[int, int], Tensor] = {}

    @property
    def extra_channels(self) -> int:
        return self.autoencoder.channels + self.autoencoder.reduction**2

    def inpainting_condition(self, pixels: Tensor, mask: Tensor) -> Condition:
        masked = mask >= 0.5
        # Masked pixels are grey, the middle of the range.
        visible = self.encode(torch.where(masked, torch.full_like(pixels, 0.5), pixels)).to(self.dtype)
        return {
            "image_latents": torch.cat(
                [visible, F.pixel_unshuffle(masked.to(self.dtype), self.autoencoder.reduction)], 1
            )
        }

    def inputs(self, x: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        image = condition.get("image_latents")
        if image is None:
            image = self.blank_latents(*x.shape[-2:]).expand(len(x), -1, -1, -1)
        return pack(torch.cat([x, image], 1)), token_positions(x)

    def blank_latents(self, height: int, width: int) -> Tensor:
        """Return the condition (1, C, h, w) of a completely masked image, encoded once per size."""
        if (height, width) not in self._blank_latents:
            size = (1, 3, height * self.autoencoder.reduction, width * self.autoencoder.reduction)
            masked = torch.ones(size, device=self.device, dtype=self.dtype)
            self._blank_latents[height, width] = self.inpainting_condition(masked, masked[:, :1])["image_latents"]
        return self._blank_latents[height, width]


class FluxKontext(Flux):
    """Backend of FLUX.1 Kontext, whose token sequence ends with the tokens of a reference.

    Without one, the model generates like any other.
    """

    provides: frozenset[str] = frozenset({"text", "adapters", "attention", "style", "references"})
    published: ClassVar[Mapping[str, float]] = MappingProxyType({"steps": 28, "guidance": 2.5})
    references = References("scale input")

    def instructed(self, prompts: Sequence[str], images: Sequence[Image.Image]) -> Condition:
        condition = dict(embed_cached(self, prompts))
        if not images:
            return condition
        (image,) = images
        resized = image.resize(self.reference_size(image.size), Image.Resampling.LANCZOS)
        pixels = torch.from_numpy(np.asarray(resized, dtype=np.float32) / 255).permute(2, 0, 1)[None]
        latents = self.encode(pixels.to(self.device)).to(self.dtype)
        return {**condition, "reference_latents": latents.expand(len(prompts), -1, -1, -1)}

    def reference_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size of the model's training images whose proportions are next to those of ``size``."""
        width, height = (max(side // self.multiple, 1) for side in size)  # the pipeline rounds first
        ratio = width / height
        _, *sides = min((abs(ratio - w / h), w, h) for w, h in PREFERRED_KONTEXT_RESOLUTIONS)
        scale = self.native_size / KONTEXT_SIDE
        width, height = (max(1, int(side * scale) // self.multiple) * self.multiple for side in sides)
        return width, height

    def inputs(self, x: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        reference = condition.get("reference_latents")
        if reference is None:
            return super().inputs(x, condition)
        positions = torch.cat([token_positions(x), token_positions(reference, number=1)])
        return torch.cat([pack(x), pack(reference)], 1), positions
