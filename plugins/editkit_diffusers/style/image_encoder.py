"""Embeddings of images by the image encoders of style adapters, each encoder loaded only while it is used."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionModelWithProjection, SiglipVisionModel

from editkit import InvalidParameter, WeightsUnavailable, file_stamps, is_finite, quiet

from ..components import load_part, refuse

_CACHE_SIZE = 8
"""Number of images whose embeddings a model keeps."""
_FOLDERS = ("image_encoder", "../models/image_encoder")
"""Places of the encoder in published collections of adapters, beside a file; the last one for ``vit-h`` of SDXL."""


class Embeddings(NamedTuple):
    """Embeddings of an image and of no image, (1, D) or hidden states (1, T, D)."""

    image: Tensor
    nothing: Tensor


class EmbeddingCache:
    """Cache of the embeddings computed last, so that an encoder of gigabytes need not stay in memory."""

    def __init__(self) -> None:
        self.cached: dict[tuple[object, ...], Embeddings] = {}
        self.lock = threading.Lock()

    def get(
        self, encoder: Path, image: Image.Image, options: tuple[object, ...], compute: Callable[[], Embeddings]
    ) -> Embeddings:
        """Return the embeddings of an image by the encoder in a folder, computed if they are not cached."""
        digest = hashlib.sha256(image.tobytes()).digest()
        key = (encoder.resolve(), file_stamps(encoder), image.size, image.mode, digest, *options)
        with self.lock:
            found = self.cached.pop(key, None) or compute()
            self.cached[key] = found
            for oldest in list(self.cached)[:-_CACHE_SIZE]:
                del self.cached[oldest]
            return found


def find_encoder(weights: Path, encoder: Path | None) -> Path:
    """Return the folder of the image encoder of an adapter file; raises WeightsUnavailable if there is none."""
    if encoder is not None:
        return encoder
    candidates = [weights.parent / folder for folder in _FOLDERS]
    if "vit-h" in weights.name:
        candidates.reverse()
    for folder in candidates:
        if (folder / "config.json").is_file():
            return folder
    raise WeightsUnavailable(
        f"style:model={str(weights)!r} needs an image encoder, and there is no folder image_encoder beside it: give "
        "its folder with encoder="
    )


class EncoderKind(NamedTuple):
    """A family of image encoders: the class of its networks, and the function that makes pixels of an image."""

    network: Any
    processor: Callable[[Path, Any], Any]
    """Function from a folder and the configuration of its network to a processor of images."""


def _clip_processor(folder: Path, config: Any) -> Any:
    with quiet():  # transformers notes the absence of torchvision at import
        from transformers import CLIPImageProcessor

        return CLIPImageProcessor(size=config.image_size, crop_size=config.image_size)


def siglip_processor(folder: Path, config: Any) -> Any:
    """Return the processor of a SigLIP encoder, with the settings in ``folder`` if there are any."""
    with quiet():
        from transformers import SiglipImageProcessor

        if (folder / "preprocessor_config.json").is_file():
            return SiglipImageProcessor.from_pretrained(folder, local_files_only=True)
        return SiglipImageProcessor(size={"height": config.image_size, "width": config.image_size})


CLIP = EncoderKind(CLIPVisionModelWithProjection, _clip_processor)
SIGLIP = EncoderKind(SiglipVisionModel, siglip_processor)

Nothing = Literal["zeros", "zero pixels", "black"]
"""Embedding of no image: zeros, that of pixels of zeros, or that of a black image."""


@torch.no_grad()
def embed_image(
    folder: Path,
    image: Image.Image,
    width: int,
    *,
    encoder: EncoderKind,
    hidden: bool,
    nothing: Nothing,
    device: torch.device,
    dtype: torch.dtype,
) -> Embeddings:
    """Return the embeddings of an image by the encoder in a folder, of ``width`` values, as diffusers computes them.

    They are the projected embedding, or the hidden states of the layer before the last one with ``hidden``. Raises
    InvalidParameter for an encoder of another width.
    """
    net = load_part(encoder.network, folder, device=device, dtype=dtype, strict=True, warn=refuse)
    given = net.config.hidden_size if hidden else net.config.projection_dim
    if given != width:
        raise InvalidParameter(
            f"the style adapter takes {width} values of its image encoder, and {folder} gives {given}: it was trained "
            "with another encoder; give its folder with encoder="
        )
    processor = encoder.processor(folder, net.config)

    def read(one: Image.Image) -> Tensor:
        pixels: Tensor = processor(one, return_tensors="pt").pixel_values
        return pixels.to(device, dtype)

    def embed(pixels: Tensor) -> Tensor:
        output = net(pixels, output_hidden_states=hidden)
        states: Tensor = output.hidden_states[-2] if hidden else output.image_embeds
        if not is_finite(states):
            raise InvalidParameter(f"the image encoder {folder} overflows in {dtype}: use --dtype float32")
        return states

    pixels = read(image)
    embedded = embed(pixels)
    if nothing == "zeros":
        return Embeddings(embedded, torch.zeros_like(embedded))
    empty = torch.zeros_like(pixels) if nothing == "zero pixels" else read(Image.new("RGB", (16, 16)))
    return Embeddings(embedded, embed(empty))
