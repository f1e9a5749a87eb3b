"""FLUX.1 Redux: an image as further tokens behind those of the prompt."""

from __future__ import annotations

import dataclasses as dc
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder
from PIL import Image
from torch import Tensor
from transformers import SiglipVisionModel

from editkit import InvalidParameter, file_stamps

from ..components import load_part, refuse
from .attached import Style
from .image_encoder import EmbeddingCache, Embeddings, siglip_processor

_EMBEDDER = "image_embedder"
"""Part of a Redux folder that makes tokens of an image's hidden states."""


@dc.dataclass(frozen=True, eq=False)
class ReduxStyle(Style):
    """Tokens (1, T, D) of an image, already multiplied by the scale."""

    tokens: Tensor

    styles_negative = False

    @property
    def added_tokens(self) -> int:  # type: ignore[override]
        return self.tokens.shape[1]


def is_redux(location: Path) -> bool:
    """Return whether a folder is one of Redux."""
    return (location / _EMBEDDER).is_dir()


class Redux:
    """Tokens of images by Redux for one model, of which those used last are kept."""

    def __init__(self) -> None:
        self.tokens = EmbeddingCache()

    def style(
        self,
        model: Any,
        folder: Path,
        image: Image.Image,
        *,
        encoder: Path | None,
        scale: float,
        low: float,
        high: float,
    ) -> ReduxStyle:
        """Return the style of an image for a model of FLUX.1; see :meth:`SupportsStyle.with_style`."""
        encoder = folder / "image_encoder" if encoder is None else encoder
        place = {"device": model.device, "dtype": model.dtype}
        width = model.transformer.config.joint_attention_dim
        options = (file_stamps(folder / _EMBEDDER), width, *place.values())
        found = self.tokens.get(encoder, image, options, lambda: _tokens(folder, encoder, image, width, **place))
        return ReduxStyle(scale, low, high, scale * found.image)


@torch.no_grad()
def _tokens(
    folder: Path, encoder: Path, image: Image.Image, width: int, *, device: torch.device, dtype: torch.dtype
) -> Embeddings:
    """Return the tokens of an image as ``FluxPriorReduxPipeline`` computes them, and none for no image."""
    reading: dict[str, Any] = {"device": device, "dtype": dtype, "strict": True, "warn": refuse}
    embedder = load_part(ReduxImageEncoder, folder / _EMBEDDER, **reading)
    vision = load_part(SiglipVisionModel, encoder, **reading)
    given, needed = vision.config.hidden_size, embedder.config.redux_dim
    if given != needed:
        raise InvalidParameter(f"{folder} takes {needed} values of its image encoder, and {encoder} gives {given}")
    if embedder.config.txt_in_features != width:
        raise InvalidParameter(
            f"{folder} makes tokens of {embedder.config.txt_in_features} values, and the model reads {width}: it "
            "belongs to another model"
        )
    processor = siglip_processor(folder / "feature_extractor", vision.config)
    pixels = processor.preprocess(images=image, do_resize=True, return_tensors="pt", do_convert_rgb=True).pixel_values
    states = vision(pixel_values=pixels.to(device, dtype)).last_hidden_state
    tokens: Tensor = embedder(states).image_embeds
    return Embeddings(tokens, tokens[:, :0])
