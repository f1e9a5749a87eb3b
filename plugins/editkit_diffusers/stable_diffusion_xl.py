"""Models shaped like SDXL and its refiner (Podell et al., arXiv 2307.01952)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, Self

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from editkit import Condition, WeightsUnavailable, numbers_on

from .assembly import Parts
from .stable_diffusion import StableDiffusion, backend_parts
from .text_encoder import join_chunks

TEXTS = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
"""The refiner has only the second text encoder."""
_TURBO_SIDE = 64
"""Side in latents of the images of SDXL Turbo (Sauer et al., arXiv 2311.17042), half of SDXL's."""
_AESTHETIC_SCORE = 6.0
"""Aesthetic score out of 10, for networks conditioned on one; the default of diffusers."""


class StableDiffusionXL(StableDiffusion):
    """Backend of UNets conditioned on text, a pooled text embedding and the size of the image (arXiv 2307.01952).

    With ``zeros``, an empty prompt is embedded as zeros. With ``scored``, an aesthetic score takes the place of the
    target size.
    """

    statistics = ("latents_mean", "latents_std")
    added_kinds = ("text_time",)

    def __init__(self, *, zeros: bool, scored: bool, **parts: Any) -> None:
        super().__init__(**parts)
        self.zeros, self.scored = zeros, scored
        if self.unet.config.sample_size == _TURBO_SIDE and (sampler := _turbo_sampler(parts["scheduler"])):
            self.usual = {"steps": 4, "guidance": 1.0, "sampler": sampler}
        self.check_conditioning()

    @classmethod
    def from_parts(cls, parts: Parts, name: str) -> Self:
        index = parts.index
        for key in ("force_zeros_for_empty_prompt", "requires_aesthetics_score"):
            if not isinstance(index.get(key), (bool, NoneType)):
                raise WeightsUnavailable(f"model {name}: {key}={str(index[key])[:60]!r} is neither true nor false")
        texts = {part: kind for part, kind in TEXTS.items() if (index.get(part) or [None])[0]}
        return cls(
            name=name,
            zeros=bool(index.get("force_zeros_for_empty_prompt", True)),
            scored=bool(index.get("requires_aesthetics_score", False)),
            **backend_parts(parts, texts, left_out=1),
        )

    def check_conditioning(self) -> None:
        """Raise WeightsUnavailable if the network has other conditions than this family."""
        config = self.unet.config
        width = len(self.size_conditions(0, 0)) * config.addition_time_embed_dim
        width += self.texts["text_encoder_2"].net.config.projection_dim
        expected = config.projection_class_embeddings_input_dim
        if width != expected:
            raise WeightsUnavailable(
                f"model {self.name}: the unet takes {expected} values beside the text, and its parts give "
                f"{width}: set requires_aesthetics_score in model_index.json as the model was trained"
            )

    def embed(self, prompts: Sequence[str], chunks: int = 1) -> Condition:
        """Return ``text`` (B, tokens, D), penultimate hidden states of all encoders, and ``whole`` (B, P), pooled.

        The pooled embedding is that of the first chunk.
        """
        outputs = [encoder(prompts, chunks) for encoder in self.texts.values()]
        pairs = zip(self.texts.values(), outputs, strict=True)
        states = torch.cat([encoder.states(output, 1) for encoder, output in pairs], -1)
        condition = {  # names in inversion files
            "text": join_chunks(states, chunks).to(self.dtype),
            "whole": outputs[-1].text_embeds[::chunks].to(self.dtype),
        }
        if self.zeros:
            for row in (row for row, prompt in enumerate(prompts) if not prompt):
                for tensor in condition.values():
                    tensor[row] = 0
        return condition

    def added_conditions(self, x: Tensor, condition: Condition) -> dict[str, Tensor]:
        height, width = (side * self.reduction for side in x.shape[-2:])
        sizes = numbers_on(self.size_conditions(height, width), x.device, torch.float32)[None].expand(len(x), -1)
        return {"text_embeds": condition["whole"], "time_ids": sizes}

    def size_conditions(self, height: int, width: int) -> list[float]:
        """Return the source size, the crop's corner, and the target size or the aesthetic score."""
        return [height, width, 0.0, 0.0, *([_AESTHETIC_SCORE] if self.scored else [height, width])]


def _turbo_sampler(scheduler: Mapping[str, Any]) -> str | None:
    """Return the sampler of a scheduler of SDXL Turbo, on trailing timesteps short of pure noise; None for others."""
    ancestral = scheduler.get("_class_name") == "EulerAncestralDiscreteScheduler"
    zero_snr = bool(scheduler.get("rescale_betas_zero_snr"))
    return "euler-a" if ancestral and scheduler.get("timestep_spacing") == "trailing" and not zero_snr else None
