"""Adapters of models with a UNet: LoRA and textual-inversion embeddings (Gal et al., arXiv 2208.01618)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from editkit import Adapter, BadFile, InvalidParameter

from .lora import weight_changes
from .text_encoder import TextEncoder

ENCODERS = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}
"""Text encoders by tensor name, in embedding files for models with two text encoders."""
NAMELESS = "emb_params"
"""Tensor name in files whose file name is the word."""


@torch.no_grad()
def add(adapter: Adapter, unet: nn.Module, texts: Mapping[str, TextEncoder]) -> None:
    """Add an adapter to the parts of a model in place.

    Raises BadFile for a file that cannot be read, and InvalidParameter for one that is no adapter or does not fit the
    model; the model is then unchanged.
    """
    tensors, metadata = _read(adapter)
    try:
        if _is_embedding(tensors):
            _add_embedding(adapter, tensors, texts)
            return
        parts = {"unet": unet, **{part: encoder.net for part, encoder in texts.items()}}
        changes = weight_changes(tensors, metadata, parts, adapter.scale)
    except InvalidParameter as error:
        raise InvalidParameter(f"adapter {str(adapter.file)!r} {error}") from error
    except (TypeError, ValueError, AttributeError) as error:  # metadata may hold values of any type
        raise BadFile(f"adapter {str(adapter.file)!r} is damaged ({error}): download it again") from error
    for change in changes:
        change.apply()


def _read(adapter: Adapter) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a file and its training metadata."""
    try:
        with safe_open(adapter.file, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get("lora_adapter_metadata", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise BadFile(f"adapter {str(adapter.file)!r} cannot be read ({reason}): download it again") from error


def _is_embedding(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the tensors are embeddings of a word, (D,) or (N, D), for one text encoder or for each of two."""
    return (len(tensors) == 1 or set(tensors) == set(ENCODERS)) and all(one.ndim in (1, 2) for one in tensors.values())


def _add_embedding(adapter: Adapter, tensors: Mapping[str, Tensor], texts: Mapping[str, TextEncoder]) -> None:
    """Add a word to the text encoders, named by the tensor or else by the file."""
    if adapter.scale != 1:
        raise InvalidParameter(
            f"is a textual-inversion embedding and takes no scale: leave out the scale {adapter.scale:g}"
        )
    widths = {part: encoder.width for part, encoder in texts.items()}
    additions = []
    for name, tensor in tensors.items():
        vectors = tensor[None] if tensor.ndim == 1 else tensor
        encoders = [
            part for part, width in widths.items() if width == vectors.shape[-1] and part == ENCODERS.get(name, part)
        ]
        if not encoders:
            raise InvalidParameter(
                f"is an embedding of length {vectors.shape[-1]}, and the model's words have "
                f"{' and '.join(map(str, widths.values()))}: it belongs to a model of another shape"
            )
        word = adapter.file.stem if name in (NAMELESS, *ENCODERS) else name
        additions += [(texts[part], word, vectors) for part in encoders]
    for encoder, word, vectors in additions:
        encoder.add_embedding(word, vectors)
