"""Models shaped like SDXL and its refiner (Podell et al., arXiv 2307.01952)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from editkit import Condition, WeightsUnavailable

from .stable_diffusion import Components, StableDiffusion, load_parts

COMPONENTS = Components(
    StableDiffusionXLPipeline, {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
)
"""The refiner has the second text encoder alone."""
_SCORE = 6.0
"""How well made its pictures are to look, for networks that are told; of 10, and diffusers' own."""


class StableDiffusionXL(StableDiffusion):
    """A UNet that is told, beside the words of a prompt, its vector as a whole and the size of the picture; a backend.

    ``zeros`` are what networks so trained see of an empty prompt; ``scored`` ones are told how well made the picture
    is in the place of its target size.
    """

    def __init__(self, *, zeros: bool, scored: bool, **parts: Any) -> None:
        super().__init__(**parts)
        self.zeros, self.scored = zeros, scored
        self.check_conditioning()

    @classmethod
    def from_folder(
        cls, folder: Path, *, name: str, device: torch.device, dtype: torch.dtype, weights: Path | None = None
    ) -> StableDiffusionXL:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        texts = {part: kind for part, kind in COMPONENTS.texts.items() if index.get(part, [None])[0]}
        return cls(
            zeros=index.get("force_zeros_for_empty_prompt", True),
            scored=index.get("requires_aesthetics_score", False),
            **load_parts(COMPONENTS._replace(texts=texts), folder, weights, name=name, device=device, dtype=dtype),
        )

    def check_conditioning(self) -> None:
        """Raise WeightsUnavailable where the network is told something else than this family tells."""
        config = self.unet.config
        if config.addition_embed_type != "text_time":
            raise WeightsUnavailable(
                f"model {self.name}: the unet is told {config.addition_embed_type!r} beside the prompt's words, not "
                "'text_time' as SDXL is: its folder names a pipeline of another family"
            )
        given = len(self.numbers(0, 0)) * config.addition_time_embed_dim
        given += self.texts["text_encoder_2"].net.config.projection_dim
        wanted = config.projection_class_embeddings_input_dim
        if given != wanted:
            raise WeightsUnavailable(
                f"model {self.name}: the unet is told {wanted} numbers beside the prompt's words, and its parts give "
                f"{given}: set requires_aesthetics_score in model_index.json as the model was trained"
            )

    def embed(self, prompts: Sequence[str]) -> Condition:
        """``text`` (B, tokens, D), the last hidden states but one of all encoders, and ``whole`` (B, P)."""
        outputs = [encoder(prompts) for encoder in self.texts.values()]
        condition = {
            "text": torch.cat([output.hidden_states[-2] for output in outputs], -1).to(self.dtype),
            "whole": outputs[-1].text_embeds.to(self.dtype),
        }
        if self.zeros:
            empty = [row for row, prompt in enumerate(prompts) if not prompt]
            for tensor in condition.values():
                tensor[empty] = 0
        return condition

    def added_conditions(self, x: Tensor, condition: Condition) -> dict[str, Tensor]:
        height, width = (side * self.reduction for side in x.shape[-2:])
        sizes = torch.tensor([self.numbers(height, width)], device=x.device).expand(len(x), -1)
        return {"text_embeds": condition["whole"], "time_ids": sizes}

    def numbers(self, height: int, width: int) -> list[float]:
        """The size of the source, its uncropped corner, and the size of the picture or how well made it is."""
        return [height, width, 0.0, 0.0, *([_SCORE] if self.scored else [height, width])]
