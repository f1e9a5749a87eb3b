"""Models shaped like Stable Diffusion 1 and 2 (Rombach et al., arXiv 2112.10752)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, AutoencoderTiny, ControlNetModel, UNet2DConditionModel
from torch import Tensor
from transformers import AutoTokenizer, CLIPTextModel

from editkit import Condition, Point, WeightsUnavailable, identity_of, to_x0

from .controlnet import ControlNet, check_fits, residuals
from .loading import load_part, quiet
from .scheduling import grid_of, prediction_of, read_config, schedule_of

SEES = {0: ("instructions",), 1: ("inpainting",)}
"""What a network is made for, by the channels it sees beyond twice those of its latents."""
AUTOENCODERS = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}


class StableDiffusion:
    """A text-conditioned UNet between an autoencoder's latents; a backend.

    Inpainting models see five more channels, which are the mask and the latents of what it leaves; instruction models
    see the latents of the picture. Told of neither, the first see all masked and the second an empty picture, and so
    both draw from noise as any other model.
    """

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
        self.controlnets: list[ControlNet] = []
        self.greys: dict[tuple[int, int], Tensor] = {}
        self.channels = vae.config.latent_channels
        self.beside = unet.config.in_channels - self.channels
        self.provides = frozenset({"text", "controlnet", *SEES.get(self.beside - self.channels, ())})
        self.reduction = 2 ** (len(vae.config.block_out_channels) - 1)
        if isinstance(vae, AutoencoderTiny):
            self.reduction = 2 ** (len(vae.config.num_decoder_blocks) - 1)
        side = unet.config.sample_size
        self.native_size = (max(side) if isinstance(side, (list, tuple)) else side) * self.reduction
        self.multiple = self.reduction  # the UNet itself copes with odd latents

    @classmethod
    def from_folder(cls, folder: Path, *, name: str, device: torch.device, dtype: torch.dtype) -> StableDiffusion:
        """Load a diffusers folder; raises WeightsUnavailable for parts that are damaged or of another shape."""
        return cls(**load_parts(folder, name=name, device=device, dtype=dtype))

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        return (self.channels, height // self.reduction, width // self.reduction)

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

    def see(self, pixels: Tensor) -> Condition:
        # Instruction models were trained on latents that are not scaled.
        return {"seen": self.encode(pixels) / self.vae.config.scaling_factor + self.shift}

    def see_masked(self, pixels: Tensor, mask: Tensor) -> Condition:
        whole = F.interpolate(
            mask.to(self.dtype), (pixels.shape[-2] // self.reduction, pixels.shape[-1] // self.reduction)
        )
        # What is masked is grey, the middle of the range.
        left = torch.where(mask >= 0.5, torch.full_like(pixels, 0.5), pixels)
        return {"seen": torch.cat([(whole >= 0.5).to(self.dtype), self.encode(left)], 1)}

    @contextlib.contextmanager
    def controlled(self, folder: Path, hint: Tensor, *, scale: float, low: float, high: float) -> Iterator[None]:
        net = load_part(ControlNetModel, folder, device=self.device, dtype=self.dtype)
        check_fits(net, self.unet, self.channels)
        self.controlnets.append(ControlNet(net, hint.to(self.device, self.dtype), scale, low, high))
        try:
            yield
        finally:
            self.controlnets.pop()

    def denoise(self, x: Tensor, point: Point, condition: Condition) -> Tensor:
        timestep = torch.tensor(self.schedule.timestep(point), device=x.device)
        inputs = torch.cat([x, *self.seen(x, condition)], 1)
        predicted = self.unet(
            inputs,
            timestep,
            encoder_hidden_states=condition["text"],
            class_labels=condition.get("noise_level"),
            return_dict=False,
            **residuals(self.controlnets, x, timestep, point, condition["text"]),
        )[0]
        return to_x0(self.prediction, predicted, x, point)

    def seen(self, x: Tensor, condition: Condition) -> list[Tensor]:
        """The channels beside the latents ``x``, where the network has any."""
        if self.beside == 0:
            return []
        if "seen" in condition:
            return [condition["seen"]]
        empty = x.new_zeros(len(x), self.beside, *x.shape[-2:])
        if "inpainting" in self.provides:
            empty[:, :1], empty[:, 1:] = 1, self.grey(*x.shape[-2:])
        return [empty]

    def grey(self, height: int, width: int) -> Tensor:
        """The latents (1, C, h, w) of a picture of nothing, encoded once a size."""
        if (height, width) not in self.greys:
            size = (1, 3, height * self.reduction, width * self.reduction)
            self.greys[height, width] = self.encode(torch.full(size, 0.5, device=self.device, dtype=self.dtype))
        return self.greys[height, width]


def load_parts(folder: Path, *, name: str, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """What a model of this shape is made of; raises WeightsUnavailable for parts that are damaged or of another."""
    kind = json.loads((folder / "vae" / "config.json").read_text()).get("_class_name")
    if kind not in AUTOENCODERS:
        raise WeightsUnavailable(f"{folder / 'vae'} is a {kind}; supported: {', '.join(AUTOENCODERS)}")
    # Large autoencoders overflow in float16: those that say so run in float32.
    vae_dtype = torch.float32 if dtype is torch.float16 else dtype
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    return {
        "unet": load_part(UNet2DConditionModel, folder / "unet", device=device, dtype=dtype),
        "vae": load_part(AUTOENCODERS[kind], folder / "vae", device=device, dtype=vae_dtype),
        "text_encoder": load_part(CLIPTextModel, folder / "text_encoder", device=device, dtype=dtype),
        "tokenizer": tokenizer,
        "scheduler": read_config(folder),
        "name": name,
        "identity": identity_of(folder),
    }
