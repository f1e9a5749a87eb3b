"""Conversion of single-file checkpoints to the parts of a diffusers pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from safetensors import safe_open
from torch import nn

from editkit import WeightsUnavailable, loading, quiet, reason_of

from .autoencoder import safe_dtype
from .checkpoint_detection import prediction_config
from .components import prepare_network
from .scheduler_config import read_config


def convert(pipeline: Any, weights: Path, folder: Path, *, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Return the networks in a safetensors checkpoint, ready to run, by part of the class ``pipeline``.

    ``folder`` holds their configuration. Raises WeightsUnavailable if the two do not fit or the file lacks a part.
    """
    shared = {"config": str(folder), "local_files_only": True}
    try:
        with loading(), quiet():
            vae_dtype = safe_dtype(AutoencoderKL.load_config(folder, subfolder="vae"), dtype)
            vae = AutoencoderKL.from_single_file(str(weights), subfolder="vae", torch_dtype=vae_dtype, **shared)
            replacements = {"vae": vae, "feature_extractor": None}
            parts = pipeline.from_single_file(str(weights), torch_dtype=dtype, **shared, **replacements).components
        nets = {name: part for name, part in parts.items() if isinstance(part, nn.Module)}
        return {name: prepare_network(net, device) for name, net in nets.items()}
    except Exception as error:  # diffusers raises many types for a file that does not fit
        raise WeightsUnavailable(
            f"model {str(weights)!r} does not fit the configuration in {folder} ({reason_of(error)}): put the "
            f"configuration of its base model into {str(weights.with_suffix(''))!r}"
        ) from error


def scheduler_of(weights: Path, folder: Path, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scheduler configuration in ``folder``, with the settings that the checkpoint itself implies."""
    with safe_open(weights, framework="pt") as file:
        return read_config(folder, fixed=fixed) | prediction_config(file.keys())
