"""Loading of one part of a diffusers folder, without log output and from safetensors only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from editkit import WeightsUnavailable, loading, quiet, reason_of

from .cross_attention_cache import cache_projections


def load_part(kind: Any, folder: Path, *, device: torch.device, dtype: torch.dtype) -> Any:
    """Load ``folder`` as an instance of ``kind``, ready to run; raises WeightsUnavailable if it is damaged."""
    try:
        with loading(), quiet():
            part = kind.from_pretrained(folder, use_safetensors=True, local_files_only=True, torch_dtype=dtype)
    except Exception as error:  # diffusers and transformers raise many types for a damaged folder
        raise WeightsUnavailable(f"{folder} cannot be loaded ({reason_of(error)})") from error
    return prepare_network(part, device)


def prepare_network(part: Any, device: torch.device) -> Any:
    """Prepare a network for inference on a device: frozen weights in the channels-last layout."""
    cache_projections(part)
    # Convolutions are faster so, with equal results up to rounding:
    # https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html
    return part.to(device, memory_format=torch.channels_last).requires_grad_(False).eval()
