"""Depth maps by the depth-estimation models of transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForDepthEstimation

from editkit import Annotator, PluginFailure, WeightsUnavailable, model_folder, on_white, quiet, read_map, reason_of

METRIC = ("depth_pro", "glpn", "tipsv2_dpt", "zoedepth")
"""Families whose models give distances in metres; of others the configuration says so."""
NEAREST = 1e-3
"""Share of the farthest distance below which distances are not told apart, so that their reciprocals are finite."""
ADVICE = (
    "give the folder or the hub id of a depth-estimation model of transformers; one without config.json or without "
    "*.safetensors weights is not read"
)


def depth_model(name: str, metric: bool | None) -> Annotator:
    """Load a model, from safetensors only and without code of its own; what is near becomes large, from 0 to 1.

    A ``metric`` model gives distances, of which the reciprocals are taken: the depth ControlNets were trained on such
    maps. Raises WeightsUnavailable where the model or its image processor cannot be loaded.
    """
    processor, model = load(name)
    if metric is None:
        metric = model.config.model_type in METRIC or getattr(model.config, "depth_estimation_type", "") == "metric"

    def annotate(picture: Image.Image) -> NDArray[np.float32]:
        size = (picture.height, picture.width)
        try:
            inputs = processor(images=on_white(picture), return_tensors="pt").to(model.device)
            with torch.no_grad():
                outputs = model(**inputs)
            found = processor.post_process_depth_estimation(outputs, [size])[0]["predicted_depth"]
        except Exception as error:  # some processors fail at very long pictures, and memory may not suffice
            raise PluginFailure(
                f"depth model {name!r} failed at a picture of {size[1]} x {size[0]} pixels ({reason_of(error)})"
            ) from error
        values = found.reshape(size).double().cpu().numpy()  # a side of one pixel was squeezed away
        return read_map(reciprocal(values) if metric else values, picture.size, argument=f"the depth found by {name!r}")

    return annotate


def reciprocal(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    farthest = max(float(distances.max()), 1e-30)  # a model may give no distance at all
    nearness: NDArray[np.float64] = farthest / np.maximum(distances, NEAREST * farthest)
    return nearness


def load(name: str) -> tuple[Any, Any]:
    """The image processor and the model, on the GPU where there is one."""
    folder = model_folder(name, called="depth model", advice=ADVICE)
    try:
        with quiet():
            processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            model = AutoModelForDepthEstimation.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # of transformers, or of a library that a processor needs
        raise WeightsUnavailable(f"depth model {name!r} cannot be loaded ({reason_of(error)}): {ADVICE}") from error
    return processor, model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
