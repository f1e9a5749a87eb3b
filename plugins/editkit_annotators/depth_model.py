"""Depth maps by the depth-estimation models of transformers."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForDepthEstimation

from editkit import (
    Annotator,
    PluginFailure,
    load_pretrained,
    on_white,
    read_map,
    reason_of,
)

METRIC_FAMILIES = ("depth_pro", "glpn", "tipsv2_dpt", "zoedepth")
"""Families whose models give distances in metres; in others the configuration declares it."""
MIN_DISTANCE = 1e-3
"""Minimum distance as a fraction of the largest one, so that reciprocals are finite."""
ADVICE = (
    "give the folder or the hub id of a depth-estimation model of transformers; one without config.json or without "
    "*.safetensors weights is not loaded"
)


def depth_model_annotator(name: str, metric: bool | None) -> Annotator:
    """Load a depth model, from safetensors only and without its own code; maps are in [0, 1], near values large.

    Distances of a ``metric`` model are replaced by their reciprocals, since depth ControlNets were trained on such
    maps. Raises WeightsUnavailable if the model or its image processor cannot be loaded.
    """
    classes = (AutoModelForDepthEstimation, AutoImageProcessor)
    model, processor = load_pretrained(name, *classes, called="depth model", advice=ADVICE)
    if metric is None:
        metric = (
            model.config.model_type in METRIC_FAMILIES or getattr(model.config, "depth_estimation_type", "") == "metric"
        )

    def annotate(image: Image.Image) -> NDArray[np.float32]:
        size = (image.height, image.width)
        try:
            inputs = processor(images=on_white(image), return_tensors="pt").to(model.device)
            with torch.no_grad():
                outputs = model(**inputs)
            depth = processor.post_process_depth_estimation(outputs, [size])[0]["predicted_depth"]
        except Exception as error:  # some processors fail for very long images, and memory may not suffice
            raise PluginFailure(
                f"depth model {name!r} failed for an image of {size[1]} x {size[0]} pixels ({reason_of(error)})"
            ) from error
        values = depth.reshape(size).double().cpu().numpy()  # the processor squeezes a side of one pixel
        return read_map(_nearness(values) if metric else values, image.size, argument=f"the depth map of {name!r}")

    return annotate


def _nearness(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Reciprocals of distances, 1 at the farthest."""
    farthest = max(float(distances.max()), 1e-30)  # all distances may be zero
    nearness: NDArray[np.float64] = farthest / np.maximum(distances, MIN_DISTANCE * farthest)
    return nearness
