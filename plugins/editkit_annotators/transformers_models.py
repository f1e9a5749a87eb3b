"""Loading of a model of transformers with its image processor."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoImageProcessor

from editkit import WeightsUnavailable, check_complete, check_weights, loading, model_folder, quiet, reason_of


def load_model(kind: Any, name: str, called: str, advice: str) -> tuple[Any, Any]:
    """Load the image processor and a model of a class, on the GPU if there is one.

    Only safetensors are read, and code that comes with a model is not run. ``called`` names the model in messages, and
    ``advice`` ends them. Raises WeightsUnavailable if it cannot be loaded.
    """
    folder = model_folder(name, called=called, advice=advice)
    try:
        with loading(), quiet():
            processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            model, info = kind.from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                variant=check_weights(folder),
            )
            check_complete(info, f"{called} {name!r}")
    except WeightsUnavailable:
        raise
    except Exception as error:  # of transformers, or of a library that a processor needs
        raise WeightsUnavailable(f"{called} {name!r} cannot be loaded ({reason_of(error)}): {advice}") from error
    return processor, model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
