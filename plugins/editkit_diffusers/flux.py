"""Models shaped like FLUX.1, also those that fill under a mask or follow instructions (arXiv 2506.15742)."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from diffusers import FluxTransformer2DModel
from torch import Tensor
from transformers import CLIPTextModel, T5EncoderModel

from editkit import Condition, Point, PointBatch, WeightsUnavailable, identity_of, timestep_of, to_x0

from .autoencoder import Autoencoder
from .components import load_part
from .inference import run_network
from .latent_backend import LatentModel
from .scheduler_config import flow_of, read_config
from .text_encoder import TextEncoder

CLIP, T5 = "text_encoder", "text_encoder_2"
TOKENS = 512
"""Length of a prompt in tokens of the T5 encoder."""
LATENTS = 128
"""Along a side of the pictures it was trained on."""
PATCH = 2
"""Latents along a side of what the network sees as one token."""


class Flux(LatentModel):
    """A transformer over tokens of latents and of words; a backend.

    Where guidance is distilled into it, the network is told a scale; where not, it is guided as others are.
    """

    provides: frozenset[str] = frozenset({"text"})

    def __init__(
        self,
        *,
        transformer: Any,
        autoencoder: Autoencoder,
        texts: Mapping[str, TextEncoder],
        scheduler: dict[str, Any],
        name: str,
        identity: str,
    ) -> None:
        schedule = flow_of(scheduler, PATCH)
        more: dict[str, Any] = {"name": name, "identity": identity, "texts": texts, "schedule": schedule}
        super().__init__(transformer, autoencoder, scheduler, **more)
        self.transformer = transformer
        # Its pipelines ask for evenly spaced sigmas, whatever the scheduler would do of itself.
        self.grid = dc.replace(self.grid, spacing="trailing")
        if transformer.config.guidance_embeds:
            self.provides = self.provides | {"distilled-guidance"}
        # The network does not say what it was trained on, and of autoencoders the small ones do not.
        self.native_size: int = autoencoder.net.config.get("sample_size", LATENTS * autoencoder.reduction)
        self.multiple = PATCH * autoencoder.reduction
        self.check_channels()

    @property
    def extra_channels(self) -> int:
        """Channels that the network sees beside those of its latents."""
        return 0

    def check_channels(self) -> None:
        """Raise WeightsUnavailable where the network sees something else than this family shows."""
        seen, shown = self.transformer.config.in_channels, PATCH**2 * (self.autoencoder.channels + self.extra_channels)
        if seen != shown:
            raise WeightsUnavailable(
                f"model {self.name}: the transformer sees {seen} channels a token and its pipeline shows {shown}: "
                "its folder names a pipeline of another family"
            )

    @classmethod
    def from_folder(cls, folder: Path, *, name: str, device: torch.device, dtype: torch.dtype) -> Self:
        """Load a diffusers folder; raises WeightsUnavailable for parts that are damaged or of another shape."""
        return cls(
            transformer=load_part(FluxTransformer2DModel, folder / "transformer", device=device, dtype=dtype),
            autoencoder=Autoencoder.from_folder(folder / "vae", device=device, dtype=dtype),
            texts={
                CLIP: TextEncoder.from_folder(folder, CLIP, CLIPTextModel, device=device, dtype=dtype),
                T5: TextEncoder.from_folder(folder, T5, T5EncoderModel, device=device, dtype=dtype, length=TOKENS),
            },
            scheduler=read_config(folder),
            name=name,
            identity=identity_of(folder),
        )

    def embed(self, prompts: Sequence[str]) -> Condition:
        """``text`` (B, tokens, D), ``pooled`` (B, P) and, where guidance is distilled, ``guidance`` (B,)."""
        text, pooled = self.texts[T5](prompts).last_hidden_state, self.texts[CLIP](prompts).pooler_output
        condition = {"text": text.to(self.dtype), "pooled": pooled.to(self.dtype)}
        return self.with_guidance_scale(condition, 1.0) if "distilled-guidance" in self.provides else condition

    def with_guidance_scale(self, condition: Condition, scale: float) -> Condition:
        return {**condition, "guidance": torch.full((len(condition["text"]),), scale, device=self.device)}

    def denoise(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        height, width = x.shape[-2:]
        tokens, places = self.inputs(x, condition)
        predicted = run_network(
            self.transformer,
            tokens,
            # It counts noise from 0 to 1.
            timestep=timestep_of(self.schedule, point, x).expand(len(x)) / self.schedule.train_steps,
            guidance=condition.get("guidance"),
            encoder_hidden_states=condition["text"],
            pooled_projections=condition["pooled"],
            img_ids=places,
            txt_ids=places.new_zeros(condition["text"].shape[1], 3),
        )
        return to_x0(self.prediction, unpack(predicted, height, width), x, point)

    def inputs(self, x: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """The tokens (B, T, D) of latents and their places (T, 3)."""
        return pack(x), _token_positions(x)


class FluxFill(Flux):
    """A Flux whose tokens also hold the mask and the latents of what it leaves; a backend.

    Told of neither, it sees all masked, and so draws from noise as any other model.
    """

    provides: frozenset[str] = frozenset({"text", "inpainting"})

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self._blank_latents: dict[tuple[int, int], Tensor] = {}

    @property
    def extra_channels(self) -> int:
        return self.autoencoder.channels + self.autoencoder.reduction**2

    def inpainting_condition(self, pixels: Tensor, mask: Tensor) -> Condition:
        masked = mask >= 0.5
        # What is masked is grey, the middle of the range.
        left = self.encode(torch.where(masked, torch.full_like(pixels, 0.5), pixels))
        return {"seen": torch.cat([left, F.pixel_unshuffle(masked.to(self.dtype), self.autoencoder.reduction)], 1)}

    def inputs(self, x: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        seen = (
            condition["seen"] if "seen" in condition else self.blank_latents(*x.shape[-2:]).expand(len(x), -1, -1, -1)
        )
        return pack(torch.cat([x, seen], 1)), _token_positions(x)

    def blank_latents(self, height: int, width: int) -> Tensor:
        """What is seen (1, C, h, w) of a picture that is masked all over, encoded once a size."""
        if (height, width) not in self._blank_latents:
            size = (1, 3, height * self.autoencoder.reduction, width * self.autoencoder.reduction)
            masked = torch.ones(size, device=self.device, dtype=self.dtype)
            self._blank_latents[height, width] = self.inpainting_condition(masked, masked[:, :1])["seen"]
        return self._blank_latents[height, width]


class FluxKontext(Flux):
    """A Flux that sees a picture as more tokens, behind those it draws; a backend.

    Told of none, it draws from noise as any other model.
    """

    provides: frozenset[str] = frozenset({"text", "instructions"})

    def image_condition(self, latents: Tensor) -> Condition:
        return {"seen": latents}

    def inputs(self, x: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        seen = condition.get("seen")
        if seen is None:
            return super().inputs(x, condition)
        return torch.cat([pack(x), pack(seen)], 1), torch.cat([_token_positions(x), _token_positions(seen, picture=1)])


def pack(latents: Tensor) -> Tensor:
    """Latents (B, C, h, w) as tokens (B, h w / 4, 4 C), row by row; each holds a square of them."""
    return F.pixel_unshuffle(latents, PATCH).flatten(2).mT


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """The inverse of :func:`pack` for latents of h x w, from the first of the tokens."""
    rows, columns = height // PATCH, width // PATCH
    squares = tokens[:, : rows * columns].mT
    return F.pixel_shuffle(squares.reshape(*squares.shape[:2], rows, columns), PATCH)


def _token_positions(latents: Tensor, picture: int = 0) -> Tensor:
    """Where the tokens of latents lie, (h w / 4, 3): number of the picture, row and column."""
    height, width = latents.shape[-2:]
    axes = [torch.arange(side // PATCH, dtype=torch.float32, device=latents.device) for side in (height, width)]
    rows, columns = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([torch.full_like(rows, picture), rows, columns], -1).flatten(0, 1)
