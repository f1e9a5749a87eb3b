"""Class-conditional transformers (Peebles & Xie, arXiv 2212.09748)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch.nn.functional as F
from diffusers import DiTTransformer2DModel
from torch import Tensor

from editkit import Condition, Point, PointBatch, to_device, to_x0

from .assembly import Parts
from .attention.support import find_attention_sites
from .autoencoder import Autoencoder
from .class_labels import BlendedEmbedding, Classes
from .components import longest_side
from .inference import run_network
from .latent_backend import LatentModel

DEFAULT_SIDE = 32
"""Side of the training images in latents, for networks whose configuration does not hold it."""


class Dit(LatentModel):
    """Backend of class-conditional transformers over patches of latents (arXiv 2212.09748).

    A prompt is a class, by name or number; the empty prompt is the unconditional class.
    """

    provides: frozenset[str] = frozenset({"text", "adapters", "attention"})

    def __init__(
        self,
        *,
        transformer: Any,
        autoencoder: Autoencoder,
        names: Mapping[str, str],
        scheduler: dict[str, Any],
        **labels: Any,
    ) -> None:
        super().__init__(transformer, autoencoder, scheduler, **labels)
        self.transformer = transformer
        self.usual = {"steps": 50, "guidance": 4.0}
        self.patch: int = transformer.config.patch_size
        self.check_inputs("transformer", transformer.config.in_channels, autoencoder.channels, "autoencoder")
        self.native_size = (
            longest_side(transformer.config.sample_size, DEFAULT_SIDE, "transformer") * autoencoder.reduction
        )
        self.multiple = self.patch * autoencoder.reduction
        embedders = [block.norm1.emb.class_embedder for block in transformer.transformer_blocks]
        rows = embedders[0].embedding_table.num_embeddings
        self.classes = Classes(transformer.config.num_embeds_ada_norm, rows, names)
        for embedder in embedders:
            embedder.embedding_table = BlendedEmbedding(embedder.embedding_table)

    @classmethod
    def from_parts(cls, parts: Parts, name: str) -> Self:
        return cls(
            transformer=parts.network(DiTTransformer2DModel, "transformer", changed=True),
            autoencoder=parts.autoencoder(),
            names=parts.index.get("id2label") or {},
            scheduler=parts.scheduler(),
            name=name,
            identity=parts.identity,
            warnings=parts.warnings,
        )

    def embed(self, prompts: Sequence[str]) -> Condition:
        """Return ``classes`` (B, rows), the share of each class; raises InvalidParameter for other prompts."""
        return {"classes": to_device(self.classes.shares(prompts), self.device, self.dtype)}

    @find_attention_sites
    def denoise(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        timestep = self.network_timestep(point, x).expand(len(x))
        predicted = self.predict(x.to(self.dtype), timestep, condition["classes"])
        # Further channels predict a variance, which no sampler uses.
        return to_x0(self.prediction, predicted[:, : x.shape[1]], x, point)

    def predict(self, x: Tensor, timestep: Tensor, classes: Tensor) -> Tensor:
        """Evaluate the network for latents of any shape.

        The network takes any number of patches but assembles its output as a square: the patches are padded to a
        square, and its output is rearranged to the shape of the latents.
        """
        height, width = (side // self.patch for side in x.shape[-2:])
        side = math.isqrt(height * width - 1) + 1

        def pad_to_square(_: Any, __: Any, patches: Tensor) -> Tensor:  # (B, h * w, C) -> (B, side * side, C)
            return F.pad(patches, (0, 0, 0, side**2 - height * width))

        with self.transformer.proj_out_2.register_forward_hook(pad_to_square):
            square = run_network(self.transformer, x, timestep=timestep, class_labels=classes)
        patches = F.pixel_unshuffle(square, self.patch).flatten(2)[..., : height * width]
        return F.pixel_shuffle(patches.reshape(*patches.shape[:2], height, width), self.patch)
