"""Segmentation by points with Segment Anything (Kirillov et al., arXiv 2304.02643) of transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoImageProcessor, SamModel, SamProcessor

from editkit import (
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

from . import SamParams
from .segmenter_models import fade

ADVICE = "give the folder or the hub id of a SAM model such as facebook/sam-vit-base"
_THRESHOLD = 0.5
"""Probability of the border of a mask, by the paper: a logit of 0."""


def sam_segmenter(params: SamParams) -> Segmenter:
    """Load a SAM and return its segmenter; raises WeightsUnavailable if it cannot be loaded.

    Of the three masks that the model offers for the points it takes the one that the model estimates to be the best.
    """
    processor, model = load(params.model)

    def segment(image: Image.Image, specification: MaskSpecification) -> NDArray[np.float32]:
        points = [*specification.inside, *specification.outside]
        labels = [1] * len(specification.inside) + [0] * len(specification.outside)
        try:
            with torch.no_grad(), quiet():
                inputs = processor(
                    on_white(image),
                    input_points=[[[list(point) for point in points]]],
                    input_labels=[[labels]],
                    return_tensors="pt",
                )
                sizes = inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes")
                outputs = model(**inputs.to(model.device))
                logits = processor.image_processor.post_process_masks(outputs.pred_masks.cpu(), *sizes, binarize=False)
        except Exception as error:  # memory may not suffice
            raise PluginFailure(f"segmentation model {params.model!r} failed ({reason_of(error)})") from error
        best = int(outputs.iou_scores[0, 0].argmax())
        return fade(logits[0][0, best].sigmoid(), _THRESHOLD).numpy()

    return segment


@load_once(maxsize=1, stamps=file_stamps)
def load(name: str) -> tuple[Any, Any]:
    """Load the processor and the model; the last result is cached until its files change."""
    model, image_processor = load_pretrained(
        name, SamModel, AutoImageProcessor, called="segmentation model", advice=ADVICE
    )
    return SamProcessor(image_processor), model
