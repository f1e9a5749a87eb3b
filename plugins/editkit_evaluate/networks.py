"""Measures by networks whose folders the user names: CLIP similarity, LPIPS, and the distance of structures by DINO."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel, ViTModel

from editkit import identity_of, load_pretrained, quiet

from .measures import Region
from .squeeze_net import load_lpips

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Normalisation of ImageNet, for pixels in [0, 1]."""
SMALLEST = 32
"""Shortest side in pixels of an image that LPIPS compares."""
SHORTEST, LONGEST = 224, 480
"""Sides in pixels to which an image is resized before DINO."""


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


class ClipSimilarity:
    """CLIPScore (arXiv 2104.08718): 100 times the cosine of the embeddings of an image and a text, at least 0."""

    ADVICE = (
        "give the folder or the hub id of a CLIP model with image processor and tokenizer, such as "
        "openai/clip-vit-large-patch14"
    )

    def __init__(self, name: str) -> None:
        """Load a model with its processor and tokenizer; raises WeightsUnavailable if that is not possible."""
        classes = (CLIPModel, AutoImageProcessor, AutoTokenizer)
        self.model, self.processor, self.tokenizer = load_pretrained(name, *classes, called="clip", advice=self.ADVICE)
        self.identity = identity_of(Path(self.model.name_or_path))

    @torch.no_grad()
    def similarity(self, image: Image.Image, text: str) -> float:
        """Return the similarity; a text beyond the limit of the text encoder is cut there, as in the published code."""
        with quiet():
            pixels = self.processor(images=image, return_tensors="pt")["pixel_values"]
        limit = self.model.config.text_config.max_position_embeddings
        tokens = self.tokenizer([text], return_tensors="pt", truncation=True, max_length=limit)
        inputs = {name: tokens[name].to(_device()) for name in ("input_ids", "attention_mask")}
        embeddings = [self.model.get_image_features(pixels.to(_device())), self.model.get_text_features(**inputs)]
        one, other = (F.normalize(getattr(each, "pooler_output", each), dim=-1) for each in embeddings)
        return max(100 * float((one * other).sum()), 0.0)


class PerceptualDistance:
    """LPIPS between two images, of the whole or of a region."""

    def __init__(self, name: str) -> None:
        """Load the weights; raises WeightsUnavailable if some are missing."""
        self.model = load_lpips(Path(name)).to(_device())
        self.identity = identity_of(Path(name))

    @torch.no_grad()
    def distance(self, one: Image.Image, other: Image.Image, region: Region | None = None) -> float | None:
        """Return the distance, over a region of the pixels if one is given.

        None for a region without pixels, and for an image on which the network has no feature left.
        """
        if min(one.size) < SMALLEST or (region is not None and not region.any()):
            return None
        weights = None if region is None else torch.from_numpy(region).to(_device(), torch.float32)[None, None]
        return float(self.model(_levels(one) / 127.5 - 1, _levels(other) / 127.5 - 1, weights))


class StructureDistance:
    """Distance of structures (arXiv 2202.10890 and 2201.00424): the mean squared difference of the self-similarities of
    the keys in the last layer of a DINO ViT.
    """

    ADVICE = "give the folder or the hub id of a DINO ViT, such as facebook/dino-vitb8"

    def __init__(self, name: str) -> None:
        """Load a model; raises WeightsUnavailable if that is not possible."""
        # The pooler of a ViT is not used here, and DINO has none.
        [self.model] = load_pretrained(name, ViTModel, called="dino", advice=self.ADVICE, unused="pooler")
        self.identity = identity_of(Path(self.model.name_or_path))
        # Releases of transformers differ in the name of the layer.
        named = [module for path, module in self.model.named_modules() if path.endswith((".k_proj", ".attention.key"))]
        self.keys = named[-1]

    @torch.no_grad()
    def distance(self, one: Image.Image, other: Image.Image, *, as_published: bool = False) -> float:
        """Return the distance of two images; ``as_published`` by pixels of 0 to 255 that are not antialiased."""
        first, second = (self._self_similarity(_levels(image), as_published) for image in (one, other))
        return float(F.mse_loss(first, second))

    def _self_similarity(self, levels: Tensor, as_published: bool) -> Tensor:
        """Return the cosines (T, T) between the keys of an image (1, 3, H, W) in 0..255."""
        resized = F.interpolate(
            levels, _resized(levels.shape[-2:]), mode="bilinear", align_corners=False, antialias=not as_published
        )
        mean, deviation = (levels.new_tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
        pixels = ((resized if as_published else resized / 255) - mean) / deviation
        keys: list[Tensor] = []
        hook = self.keys.register_forward_hook(lambda module, inputs, output: keys.append(output))
        try:
            self.model(pixel_values=pixels, interpolate_pos_encoding=True)
        finally:
            hook.remove()
        unit = F.normalize(keys[0][0], dim=-1)
        return unit @ unit.T


def _resized(size: torch.Size) -> tuple[int, int]:
    """Return the size with a shortest side of 224 pixels, or with a longest side of 480 if that would be longer."""
    short, long = min(size), max(size)
    length = int(SHORTEST * long / short)
    new_short, new_long = (SHORTEST, length) if length <= LONGEST else (int(LONGEST * SHORTEST / length), LONGEST)
    return (new_short, new_long) if size[0] <= size[1] else (new_long, new_short)


def _levels(image: Image.Image) -> Tensor:
    """Return an image as (1, 3, H, W) in 0..255."""
    levels = np.array(image.convert("RGB"), dtype=np.float32)
    return torch.from_numpy(levels).permute(2, 0, 1)[None].to(_device())
