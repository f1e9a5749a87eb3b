"""Segmentation by words with CLIPSeg (Lüddecke and Ecker, arXiv 2112.10003) of transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, CLIPSegForImageSegmentation

from editkit import (
    InvalidParameter,
    MaskSpecification,
    PluginFailure,
    Segmenter,
    file_stamps,
    load_once,
    load_pretrained,
    on_white,
    quiet,
    reason_of,
)

from . import ClipsegParams
from .segmenter_models import fade

ADVICE = "give the folder or the hub id of a CLIPSeg model such as CIDAS/clipseg-rd64-refined"


def clipseg_segmenter(params: ClipsegParams) -> Segmenter:
    """Load a CLIPSeg model and return its segmenter; raises WeightsUnavailable if it cannot be loaded."""
    processor, tokenizer, model = load(params.model)

    def segment(image: Image.Image, specification: MaskSpecification) -> NDArray[np.float32]:
        with quiet():
            tokens = tokenizer([specification.words], padding=True, return_tensors="pt")
        limit = model.config.text_config.max_position_embeddings
        if tokens.input_ids.shape[1] > limit:
            raise InvalidParameter(
                f"mask={str(specification)[:60]!r} is not allowed: the segmenter reads {limit} tokens: shorten it"
            )
        try:
            with torch.no_grad(), quiet():
                pixels = processor(images=[on_white(image)], return_tensors="pt")["pixel_values"]
                logits = model(**tokens.to(model.device), pixel_values=pixels.to(model.device)).logits
        except Exception as error:  # memory may not suffice
            raise PluginFailure(f"segmentation model {params.model!r} failed ({reason_of(error)})") from error
        whole = F.interpolate(logits.view(1, 1, *logits.shape[-2:]), image.size[::-1], mode="bilinear")
        return fade(whole.sigmoid(), params.threshold)[0, 0].cpu().numpy()

    return segment


@load_once(maxsize=1, stamps=file_stamps)
def load(name: str) -> tuple[Any, Any, Any]:
    """Load the image processor, the tokenizer and the model; the last result is cached until its files change."""
    classes = (CLIPSegForImageSegmentation, AutoImageProcessor, AutoTokenizer)
    model, processor, tokenizer = load_pretrained(name, *classes, called="segmentation model", advice=ADVICE)
    return processor, tokenizer, model
