"""Models shaped like Stable Diffusion 3 and 3.5 (Esser et al., arXiv 2403.03206)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from diffusers import SD3Transformer2DModel
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModelWithProjection, T5EncoderModel

from editkit import (
    Condition,
    InvalidParameter,
    Point,
    PointBatch,
    WeightsUnavailable,
    timestep_of,
)

from .assembly import Parts
from .autoencoder import Autoencoder
from .components import longest_side
from .controlnets.attached import sum_residuals
from .controlnets.files import load_controlnet
from .controlnets.stable_diffusion_3 import Sd3ControlNet, sd3_family
from .inference import run_network
from .scheduler_config import flow_of
from .style.attached import Style, Styles, styles_of
from .style.ip_adapter import SD3, IPAdapters, IPAdapterStyle, styled_network
from .style.model import StyledModel
from .text_encoder import TextEncoder

CLIPS = ("text_encoder", "text_encoder_2")
T5 = "text_encoder_3"
TOKENS = 256
"""Length of a prompt in tokens of the T5 encoder."""

DEFAULT_SIDE = 128
"""Side of the training images in latents, for networks whose configuration does not hold it."""


class StableDiffusion3(StyledModel):
    """Backend of transformers with joint attention to patches of latents and to text (arXiv 2403.03206).

    The text comes from two CLIP encoders and from T5; without T5, zeros take its place, as in training.
    """

    statistics = ("shift_factor",)
    provides: frozenset[str] = frozenset({"text", "adapters", "attention", "controlnet", "style"})

    def __init__(
        self,
        *,
        transformer: Any,
        autoencoder: Autoencoder,
        texts: Mapping[str, TextEncoder],
        scheduler: dict[str, Any],
        **labels: Any,
    ) -> None:
        self.patch: int = transformer.config.patch_size
        schedule = flow_of(scheduler, self.patch)
        super().__init__(transformer, autoencoder, scheduler, texts=texts, schedule=schedule, **labels)
        self.transformer = transformer
        self.ip_adapters = IPAdapters(SD3)
        self.usual = {**_usual_settings(transformer.config), **self.usual}
        self.native_size = (
            longest_side(transformer.config.sample_size, DEFAULT_SIDE, "transformer") * autoencoder.reduction
        )
        self.multiple = self.patch * autoencoder.reduction
        pooled = sum(texts[part].net.config.projection_dim for part in CLIPS)
        self.check_inputs("transformer", transformer.config.pooled_projection_dim, pooled, "pooled text")
        if T5 in texts:
            width = texts[T5].net.config.d_model
            self.check_inputs("transformer", transformer.config.joint_attention_dim, width, "T5 text encoder")
        self.check_inputs("autoencoder", autoencoder.channels, transformer.out_channels, "transformer")
        if transformer.config.in_channels != autoencoder.channels:
            raise WeightsUnavailable(
                f"model {self.name}: the transformer has {transformer.config.in_channels} input channels and the "
                f"autoencoder {autoencoder.channels} latent channels: networks with extra channels are not supported"
            )

    @classmethod
    def from_parts(cls, parts: Parts, name: str) -> Self:
        texts = {part: parts.text_encoder(part, CLIPTextModelWithProjection, left_out=1) for part in CLIPS}
        if (parts.index.get(T5) or [None])[0]:
            texts[T5] = parts.text_encoder(T5, T5EncoderModel, TOKENS)
        return cls(
            transformer=parts.network(SD3Transformer2DModel, "transformer"),
            autoencoder=parts.autoencoder(),
            texts=texts,
            scheduler=parts.scheduler(),
            name=name,
            identity=parts.identity,
            warnings=parts.warnings,
        )

    def embed(self, prompts: Sequence[str]) -> Condition:
        """Return ``text`` (B, tokens, D), CLIP tokens before T5 tokens, and ``pooled`` (B, P) of both CLIPs."""
        outputs = [self.texts[part](prompts) for part in CLIPS]
        clip = torch.cat([self.texts[part].states(output, 1) for part, output in zip(CLIPS, outputs, strict=True)], -1)
        t5 = self.t5_states(prompts)
        text = torch.cat([F.pad(clip, (0, t5.shape[-1] - clip.shape[-1])), t5], 1)
        pooled = torch.cat([output.text_embeds for output in outputs], -1)
        return {"text": text.to(self.dtype), "pooled": pooled.to(self.dtype)}

    def t5_states(self, prompts: Sequence[str]) -> Tensor:
        """Return the hidden states of T5, (B, TOKENS, D), or zeros if the model has no T5."""
        if T5 not in self.texts:
            size = (len(prompts), TOKENS, self.transformer.config.joint_attention_dim)
            return torch.zeros(size, device=self.device, dtype=self.dtype)
        states: Tensor = self.texts[T5](prompts).last_hidden_state
        return states.to(self.dtype)

    def word_encoders(self) -> Mapping[str, int]:
        # The tokens of the second CLIP encoder have the places of the first one's, those of T5 follow them.
        places = {"text_encoder": 0, "text_encoder_3": self.texts["text_encoder"].length}
        return {part: place for part, place in places.items() if part in self.texts}

    def load_style(self, weights: Path, image: Image.Image, *, mask: Tensor | None = None, **options: Any) -> Style:
        if mask is not None:
            raise InvalidParameter("style:mask= is not allowed: a style of this family acts on the whole image")
        if styles_of(self):
            raise InvalidParameter("a second style is not allowed: models of this family take one; leave one out")
        return self.ip_adapters.style(self, weights, image, **options)

    def predict(
        self, x: Tensor, point: Point | PointBatch, condition: Condition, styles: Styles, roles: Sequence[int]
    ) -> Tensor:
        self.check_size(x)
        conditions = {
            "timestep": timestep_of(self.schedule, point, x).expand(len(x)),
            "encoder_hidden_states": condition["text"],
            "pooled_projections": condition["pooled"],
        }
        residuals = sum_residuals(self.controlnets, x, point, conditions)
        adapters = cast(tuple[IPAdapterStyle, ...], styles)
        net = styled_network(adapters) if adapters else self.transformer
        styled = {"ip_adapter_image_embeds": adapters[0].rows(roles).squeeze(1)} if adapters else None
        return run_network(net, x, **conditions, **residuals, joint_attention_kwargs=styled)

    def load_controlnet(self, location: Path) -> Sd3ControlNet:
        family = sd3_family(self.transformer)
        net = load_controlnet(location, family, device=self.device, dtype=self.dtype)
        return Sd3ControlNet(net, self.transformer, self.autoencoder)

    def check_size(self, x: Tensor) -> None:
        """Raise InvalidParameter for latents that reach beyond the network's position embeddings."""
        side, limit = max(x.shape[-2:]), self.transformer.config.pos_embed_max_size * self.patch
        if side > limit:
            reduction = self.autoencoder.reduction
            raise InvalidParameter(
                f"a side of {side * reduction} pixels is not allowed: the model {self.name!r} supports up to "
                f"{limit * reduction}; give a smaller resolution"
            )


def _usual_settings(config: Any) -> dict[str, Any]:
    """Return the published settings of 3.5 Medium, which has dual attention, of 3.5 Large, and of 3.

    The files of 3.5 Large Turbo are those of 3.5 Large.
    """
    if config.dual_attention_layers:
        return {"steps": 40, "guidance": 4.5}
    return {"steps": 28, "guidance": 3.5 if config.qk_norm else 7.0}
