"""Models shaped like Stable Diffusion 1 and 2 (Rombach et al., arXiv 2112.10752)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from torch import Tensor
from transformers import AutoTokenizer, CLIPTextModel

from editkit import Condition, Point, WeightsUnavailable, identity_of, to_x0

from .loading import load_part, quiet
from .scheduling import grid_of, prediction_of, read_config, schedule_of

AUTOENCODERS = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}


class StableDiffusion:
    """A text-conditioned UNet between an autoencoder's latents; a backend."""

    provides = frozenset({"text"})

    def __init__(
        self,
        *,
        unet: Any,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        scheduler: dict[str, Any],
        name: str,
        identity: str,
    ) -> None:
        self.unet, self.vae, self.text_encoder, self.tokenizer = unet, vae, text_encoder, tokenizer
        self.name, self.identity = name, identity
        self.device, self.dtype = unet.device, unet.dtype
        self.schedule, self.grid = schedule_of(scheduler), grid_of(scheduler)
        self.prediction = prediction_of(scheduler)
        self.reduction = 2 ** (len(vae.config.block_out_channels) - 1)
        if isinstance(vae, AutoencoderTiny):
            self.reduction = 2 ** (len(vae.config.num_decoder_blocks) - 1)
        side = unet.config.sample_size
        self.native_size = (max(side) if isinstance(side, (list, tuple)) else side) * self.reduction
        self.multiple = self.reduction  # the UNet itself copes with odd latents

    @classmethod
    def from_folder(cls, folder: Path, *, name: str, device: torch.device, dtype: torch.dtype) -> StableDiffusion:
        """Load a diffusers folder; raises WeightsUnavailable for parts that are damaged or of another shape."""
        kind = json.loads((folder / "vae" / "config.json").read_text()).get("_class_name")
        if kind not in AUTOENCODERS:
            raise WeightsUnavailable(f"{folder / 'vae'} is a {kind}; supported: {', '.join(AUTOENCODERS)}")
        # Large autoencoders overflow in float16: those that say so run in float32.
        vae_dtype = torch.float32 if dtype is torch.float16 else dtype
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        return cls(
            unet=load_part(UNet2DConditionModel, folder / "unet", device=device, dtype=dtype),
            vae=load_part(AUTOENCODERS[kind], folder / "vae", device=device, dtype=vae_dtype),
            text_encoder=load_part(CLIPTextModel, folder / "text_encoder", device=device, dtype=dtype),
            tokenizer=tokenizer,
            scheduler=read_config(folder),
            name=name,
            identity=identity_of(folder),
        )

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        return (self.unet.config.in_channels, height // self.reduction, width // self.reduction)

    def encode(self, pixels: Tensor) -> Tensor:
        encoded = self.vae.encode(pixels.to(self.vae.dtype) * 2 - 1)
        latents = encoded.latents if isinstance(self.vae, AutoencoderTiny) else encoded.latent_dist.mode()
        scaled: Tensor = (latents - self.shift) * self.vae.config.scaling_factor
        return scaled.to(self.dtype)

    def decode(self, latents: Tensor) -> Tensor:
        scaled = latents.to(self.vae.dtype) / self.vae.config.scaling_factor + self.shift
        decoded: Tensor = self.vae.decode(scaled).sample
        return (decoded / 2 + 0.5).clamp(0, 1)

    @property
    def shift(self) -> float:
        return self.vae.config.get("shift_factor") or 0.0

    def embed(self, prompts: Sequence[str]) -> Condition:
        tokens = self.tokenizer(
            list(prompts),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        mask = (
            tokens.attention_mask.to(self.device)
            if self.text_encoder.config.to_dict().get("use_attention_mask")
            else None
        )
        return {"text": self.text_encoder(tokens.input_ids.to(self.device), attention_mask=mask)[0].to(self.dtype)}

    def denoise(self, x: Tensor, point: Point, condition: Condition) -> Tensor:
        timestep = torch.tensor(self.schedule.timestep(point), device=x.device)
        predicted = self.unet(x, timestep, encoder_hidden_states=condition["text"], return_dict=False)[0]
        return to_x0(self.prediction, predicted, x, point)
