"""Text-conditioned transformers with cross-attention (Chen et al., arXiv 2310.00426 and 2403.04692)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from diffusers import PixArtTransformer2DModel
from torch import Tensor
from transformers import T5EncoderModel

from editkit import Condition, Point, PointBatch, PromptReading, numbers_on, to_x0

from .assembly import Parts
from .attention.support import find_attention_sites
from .autoencoder import Autoencoder
from .components import longest_side
from .inference import run_network
from .latent_backend import LatentModel
from .text_encoder import TextEncoder

TOKENS = {"PixArtAlphaPipeline": 120, "PixArtSigmaPipeline": 300}
"""Length of a prompt in tokens, by pipeline: no other file of a folder holds it."""
MASKED = -10000.0
"""Added to the attention scores of masked tokens."""

DEFAULT_SIDE = 128
"""Side of the training images in latents, for networks whose configuration does not hold it."""


class PixArt(LatentModel):
    """Backend of transformers over patches of latents with cross-attention to a T5 encoder (arXiv 2310.00426)."""

    provides: frozenset[str] = frozenset({"text", "adapters", "attention"})

    def __init__(
        self,
        *,
        transformer: Any,
        autoencoder: Autoencoder,
        text_encoder: TextEncoder,
        scheduler: dict[str, Any],
        **labels: Any,
    ) -> None:
        texts = {"text_encoder": text_encoder}
        super().__init__(transformer, autoencoder, scheduler, texts=texts, **labels)
        self.transformer, self.text_encoder = transformer, text_encoder
        solver = {"sampler": "dpmpp-2m"} if scheduler.get("_class_name") == "DPMSolverMultistepScheduler" else {}
        self.usual = {"steps": 20, "guidance": 4.5, **solver, **self.usual}
        config = transformer.config
        self.check_inputs("transformer", config.caption_channels, text_encoder.net.config.d_model, "text")
        self.check_inputs("transformer", config.in_channels, autoencoder.channels, "autoencoder")
        self.native_size = (
            longest_side(transformer.config.sample_size, DEFAULT_SIDE, "transformer") * autoencoder.reduction
        )
        self.multiple = transformer.config.patch_size * autoencoder.reduction

    @classmethod
    def from_parts(cls, parts: Parts, name: str) -> Self:
        return cls(
            transformer=parts.network(PixArtTransformer2DModel, "transformer"),
            autoencoder=parts.autoencoder(),
            text_encoder=parts.text_encoder("text_encoder", T5EncoderModel, TOKENS[parts.index["_class_name"]]),
            scheduler=parts.scheduler(),
            name=name,
            identity=parts.identity,
            warnings=parts.warnings,
        )

    def embed(self, prompts: Sequence[str]) -> Condition:
        """Return ``text`` (B, tokens, D), and ``seen`` (B, tokens): the attention weight of each token, 1 or 0.

        Prompts are converted to lower case, as the captions in training.
        """
        tokens = self.text_encoder.tokens([_as_captions(prompt) for prompt in prompts])
        text = self.text_encoder.net(tokens.input_ids, attention_mask=tokens.attention_mask)[0]
        return {
            "text": text.to(self.dtype),
            "seen": tokens.attention_mask.to(text.device, self.dtype),
        }  # names in inversion files

    def read_prompt(self, prompt: str) -> list[PromptReading]:
        return super().read_prompt(_as_captions(prompt))

    @find_attention_sites
    def denoise(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        inputs = x.to(self.dtype)
        predicted = run_network(
            self.transformer,
            inputs,
            encoder_hidden_states=condition["text"],
            # The added logarithm multiplies the attention weight, which may lie between 0 and 1 for blended prompts.
            encoder_attention_mask=condition["seen"].log().clamp(min=MASKED)[:, None],
            timestep=self.network_timestep(point, x).expand(len(x)),
            added_cond_kwargs=self.size_conditions(inputs),
        )
        # Further channels predict a variance, which no sampler uses.
        return to_x0(self.prediction, predicted[:, : x.shape[1]], x, point)

    def size_conditions(self, x: Tensor) -> dict[str, Tensor | None]:
        """Return height and width (B, 2) in pixels and their ratio (B, 1), for networks conditioned on them."""
        if not self.transformer.use_additional_conditions:
            return {"resolution": None, "aspect_ratio": None}
        height, width = (side * self.autoencoder.reduction for side in x.shape[-2:])
        return {
            "resolution": numbers_on([height, width], x.device, x.dtype).expand(len(x), 2),
            "aspect_ratio": numbers_on([height / width], x.device, x.dtype).expand(len(x), 1),
        }


def _as_captions(prompt: str) -> str:
    """Return a prompt in the form of the captions in training."""
    return prompt.lower().strip()
