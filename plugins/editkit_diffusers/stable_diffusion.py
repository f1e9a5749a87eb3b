"""Models shaped like Stable Diffusion 1 and 2 (Rombach et al., arXiv 2112.10752)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.embeddings import get_timestep_embedding
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel

from editkit import Condition, Point, PointBatch, WeightsUnavailable

from .assembly import Parts
from .autoencoder import Autoencoder
from .components import longest_side
from .controlnets.attached import sum_residuals
from .controlnets.files import load_controlnet
from .controlnets.unet import MIDDLE, UNetControlNet, unet_family
from .deep_features import FeatureReuse, reuses_features, run_reusing
from .style.attached import Style, Styles
from .style.ip_adapter import UNET, IPAdapters, IPAdapterStyle, styled_network
from .style.model import StyledModel
from .text_encoder import TextEncoder, join_chunks

EXTRA_CHANNELS = {0: ("instructions",), 1: ("inpainting",)}
"""Capabilities of a network by the number of input channels beyond twice those of its latents."""
DEFAULT_SIDE = 64
"""Side of the training images in latents, for networks whose configuration does not hold it."""
FIXING = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline")
"""Pipelines that set options of the scheduler, whatever its configuration holds."""
FIXED: Mapping[str, Any] = MappingProxyType({"steps_offset": 1, "clip_sample": False})
"""Options that these pipelines set."""

TEXTS = {"text_encoder": CLIPTextModel}
"""Classes of the text encoders, by part of a folder."""


class StableDiffusion(FeatureReuse, StyledModel):
    """Backend of text-conditioned UNets on an autoencoder's latents (arXiv 2112.10752).

    Inpainting models have five more input channels, for the mask and the latents of the masked image; instruction
    models have as many as the latents, for those of the image. Without such a condition, an inpainting model gets a
    full mask and an instruction model zeros, and both generate like any other model.
    """

    reads_noise_level = False
    """Whether the class that the network reads is the noise level of an image."""
    added_kinds: tuple[str | None, ...] = (None, "text")
    """Conditions beside the embedded prompt that the family gives its network, by their names in a configuration."""

    def __init__(
        self,
        *,
        unet: Any,
        autoencoder: Autoencoder,
        texts: Mapping[str, TextEncoder],
        scheduler: dict[str, Any],
        **labels: Any,
    ) -> None:
        super().__init__(unet, autoencoder, scheduler, texts=texts, **labels)
        self.unet = unet
        self.ip_adapters = IPAdapters(UNET)
        self._blank_latents: dict[tuple[int, int], Tensor] = {}
        self.channels, self.reduction = autoencoder.channels, autoencoder.reduction
        self.extra_channels = unet.config.in_channels - self.channels
        self.provides = frozenset(
            {
                "text",
                "controlnet",
                "adapters",
                "attention",
                "style",
                *EXTRA_CHANNELS.get(self.extra_channels - self.channels, ()),
            }
        )
        if reuses_features(unet):
            self.provides |= {"feature-reuse"}
        if unet.config.time_cond_proj_dim is not None:
            self.provides |= {"distilled-guidance"}
            self.usual = {**self.usual, "steps": 4, "guidance": 8.5}
        if self.extra_channels not in self.allowed_extra_channels():
            raise WeightsUnavailable(
                f"model {self.name}: the unet has {unet.config.in_channels} input channels and the autoencoder "
                f"{self.channels} latent channels, which fit no pipeline of this family"
            )
        self._check_unet()
        width = unet.config.encoder_hid_dim or unet.config.cross_attention_dim
        widths = sum(encoder.net.config.hidden_size for encoder in texts.values())
        self.check_inputs("unet", width if type(width) is int else None, widths, "text")
        self.native_size = longest_side(unet.config.sample_size, DEFAULT_SIDE, "unet") * self.reduction
        self.multiple = self.reduction  # the UNet itself supports odd numbers of latents

    def _check_unet(self) -> None:
        """Raise WeightsUnavailable for a network that estimates more than latents, or reads what the family lacks."""
        config = self.unet.config
        if config.out_channels != self.channels:
            raise WeightsUnavailable(
                f"model {self.name}: the unet has {config.out_channels} output channels and the autoencoder "
                f"{self.channels} latent channels: the parts belong to different models"
            )
        reads_class = config.class_embed_type is not None or config.num_class_embeds is not None
        if reads_class and not self.reads_noise_level:
            raise WeightsUnavailable(
                f"model {self.name}: the unet reads a class beside the text (class_embed_type "
                f"{config.class_embed_type}, num_class_embeds {config.num_class_embeds}), which is not supported: its "
                "folder names a pipeline of another family"
            )
        for key, kinds in (("addition_embed_type", self.added_kinds), ("encoder_hid_dim_type", (None, "text_proj"))):
            if config[key] not in kinds:
                raise WeightsUnavailable(
                    f"model {self.name}: the unet has the {key} {config[key]!r}, and those of this "
                    f"family {' or '.join(map(repr, kinds))}: its folder names a pipeline of another family"
                )

    def allowed_extra_channels(self) -> tuple[int, ...]:
        """Return the possible numbers of input channels beside those of the latents."""
        return (0, self.channels, self.channels + 1)

    @classmethod
    def from_parts(cls, parts: Parts, name: str) -> Self:
        return cls(name=name, **backend_parts(parts, TEXTS))

    def embed(self, prompts: Sequence[str], chunks: int = 1) -> Condition:
        encoder = self.texts["text_encoder"]
        output = encoder(prompts, chunks)
        states = output[0]
        if encoder.skip:  # the states of an earlier layer are normalised as the last ones are
            states = getattr(encoder.net, "text_model", encoder.net).final_layer_norm(encoder.states(output))
        return {"text": join_chunks(states, chunks).to(self.dtype)}

    def count_chunks(self, prompt: str) -> int:
        return max(encoder.read(prompt)[1] for encoder in self.texts.values())

    def with_guidance_scale(self, condition: Condition, scale: float) -> Condition:
        rows = len(condition["text"])
        return {**condition, "guidance": torch.full((rows,), scale, dtype=torch.float32, device=self.device)}

    def image_condition(self, latents: Tensor) -> Condition:
        # Instruction models were trained on unscaled latents.
        return {"image_latents": self.autoencoder.unscale(latents).to(self.dtype)}

    def inpainting_condition(self, pixels: Tensor, mask: Tensor) -> Condition:
        latent_mask = F.interpolate(
            mask.to(self.dtype), (pixels.shape[-2] // self.reduction, pixels.shape[-1] // self.reduction)
        )
        # Masked pixels are grey, the middle of the range.
        visible = torch.where(mask >= 0.5, torch.full_like(pixels, 0.5), pixels)
        return {"image_latents": torch.cat([latent_mask >= 0.5, self.encode(visible)], 1).to(self.dtype)}

    def load_controlnet(self, location: Path) -> UNetControlNet:
        family = unet_family(self.unet, self.channels)
        net = load_controlnet(location, family, device=self.device, dtype=self.dtype)
        return UNetControlNet(net)

    def load_style(self, weights: Path, image: Image.Image, **options: Any) -> Style:
        return self.ip_adapters.style(self, weights, image, **options)

    def predict(
        self, x: Tensor, point: Point | PointBatch, condition: Condition, styles: Styles, roles: Sequence[int]
    ) -> Tensor:
        inputs = torch.cat([x, *self.extra_inputs(x, condition)], 1)
        added = self.added_conditions(x, condition)
        conditions = {
            "timestep": self.network_timestep(point, x),
            "encoder_hidden_states": condition["text"],
            "added_cond_kwargs": added,
        }
        unet, styled = self.unet, {}
        if styles:
            adapters = cast(tuple[IPAdapterStyle, ...], styles)
            unet, styled = styled_network(adapters), _style_inputs(adapters, roles, added)
        return run_reusing(
            self,
            unet,
            inputs,
            timestep_cond=self.guidance_embedding(x, condition),
            class_labels=condition.get("noise_level"),
            **conditions | styled,
            **self.residuals(x, point, conditions),
        )

    def residuals(self, x: Tensor, point: Point | PointBatch, conditions: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of the UNet with the residuals of the attached ControlNets, if any is active."""
        sums: dict[str, Any] = sum_residuals(self.controlnets, x, point, conditions)
        if sums:
            (sums[MIDDLE],) = sums[MIDDLE]
        return sums

    def guidance_embedding(self, x: Tensor, condition: Condition) -> Tensor | None:
        """Embed the guidance scale of each row, (B, W), for distilled networks (Meng et al., arXiv 2210.03142)."""
        width = self.unet.config.time_cond_proj_dim
        if width is None:
            return None
        scales = condition.get("guidance", torch.ones(len(x), dtype=torch.float32, device=x.device))
        # Its scale starts at 0 and is embedded in thousandths, as timesteps are.
        return get_timestep_embedding(1000 * (scales - 1), width).to(x.dtype)  # type: ignore[no-any-return]

    def added_conditions(self, x: Tensor, condition: Condition) -> dict[str, Tensor] | None:
        """Return the conditions of UNet and ControlNets beside the text."""
        return None

    def extra_inputs(self, x: Tensor, condition: Condition) -> list[Tensor]:
        """Return the input channels beside the latents ``x``, if the network has any."""
        if self.extra_channels == 0:
            return []
        if "image_latents" in condition:
            return [condition["image_latents"]]
        empty = x.new_zeros(len(x), self.extra_channels, *x.shape[-2:])
        if "inpainting" in self.provides:
            empty[:, :1], empty[:, 1:] = 1, self.blank_latents(*x.shape[-2:])
        return [empty]

    def blank_latents(self, height: int, width: int) -> Tensor:
        """Return the latents (1, C, h, w) of a grey image, encoded once per size."""
        if (height, width) not in self._blank_latents:
            size = (1, 3, height * self.reduction, width * self.reduction)
            self._blank_latents[height, width] = self.encode(
                torch.full(size, 0.5, device=self.device, dtype=self.dtype)
            )
        return self._blank_latents[height, width]


def _style_inputs(
    styles: Sequence[IPAdapterStyle], roles: Sequence[int], added: dict[str, Tensor] | None
) -> dict[str, Any]:
    """Return the arguments of a UNet with the embeddings of styles, beside other ``added`` conditions."""
    inputs: dict[str, Any] = {
        "added_cond_kwargs": {**(added or {}), "image_embeds": [style.rows(roles) for style in styles]}
    }
    masks = [style.mask for style in styles]
    if any(mask is not None for mask in masks):
        inputs["cross_attention_kwargs"] = {"ip_adapter_masks": masks}
    return inputs


def backend_parts(parts: Parts, texts: Mapping[str, Any], left_out: int = 0) -> dict[str, Any]:
    """Return the parts of a model as arguments of its class; raises WeightsUnavailable for parts that do not fit.

    ``texts`` are the classes of the text encoders by part, whose last ``left_out`` layers the family leaves out.
    """
    fixed = FIXED if parts.index.get("_class_name") in FIXING else {}
    return {
        "unet": parts.network(UNet2DConditionModel, "unet"),
        "autoencoder": parts.autoencoder(),
        "texts": {part: parts.text_encoder(part, kind, left_out=left_out) for part, kind in texts.items()},
        "scheduler": parts.scheduler(fixed=fixed),
        "identity": parts.identity,
        "warnings": parts.warnings,
    }
