"""Loading of one part of a diffusers folder, without log output and from safetensors only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from editkit import WeightsUnavailable, loading, quiet, reason_of

from .cross_attention_cache import cache_projections


def load_part(kind: Any, folder: Path, *, device: torch.device, dtype: torch.dtype) -> Any:
    """Load ``folder`` as an instance of ``kind``, ready to run.

    Raises WeightsUnavailable if it is damaged or incomplete.
    """
    try:
        with loading(), quiet():
            part, info = kind.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, torch_dtype=dtype, output_loading_info=True
            )
            _check_complete(info, folder)
            return prepare_network(part, device)
    except WeightsUnavailable:
        raise
    except Exception as error:  # diffusers and transformers raise many types for a damaged folder
        raise WeightsUnavailable(f"{folder} cannot be loaded ({reason_of(error)})") from error


def _check_complete(info: Mapping[str, Any], folder: Path) -> None:
    """Raise WeightsUnavailable if weights are missing or of another shape: the library has set them at random.

    Weights that the class declares as tied or optional are not in ``info``.
    """
    for kind in ("missing", "mismatched"):
        keys = sorted(str(key) for key in info[f"{kind}_keys"])
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise WeightsUnavailable(f"{folder} has {kind} weights: {keys[0]}{more}; get the whole model again")


def prepare_network(part: Any, device: torch.device) -> Any:
    """Prepare a network for inference on a device: frozen weights in the channels-last layout."""
    cache_projections(part)
    # Convolutions are faster so, with equal results up to rounding:
    # https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html
    return part.to(device, memory_format=torch.channels_last).requires_grad_(False).eval()
