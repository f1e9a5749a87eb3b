"""Adapters of models with a UNet: changes of low rank (LoRA), and words learned by textual inversion (2208.01618)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from editkit import Adapter, BadFile, InvalidParameter

from .lora import changes_of
from .text_encoder import TextEncoder

ENCODERS = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}
"""Whose vectors those are, in files of a word for models with two text encoders."""
NAMELESS = "emb_params"
"""What a word is called in files whose own name is the word."""


@torch.no_grad()
def add(adapter: Adapter, unet: nn.Module, texts: Mapping[str, TextEncoder]) -> None:
    """Add an adapter to the parts of a model, for good.

    Raises BadFile for a file that cannot be read, and InvalidParameter for one that holds something else or does not
    fit the model, which then stays as it was.
    """
    tensors, said = _read(adapter)
    try:
        if _is_embedding(tensors):
            _add_embedding(adapter, tensors, texts)
            return
        parts = {"unet": unet, **{part: encoder.net for part, encoder in texts.items()}}
        changes = changes_of(tensors, said, parts, adapter.scale)
    except InvalidParameter as error:
        raise InvalidParameter(f"adapter {str(adapter.file)!r} {error}") from error
    except (TypeError, ValueError, AttributeError) as error:  # what it says of its training can be anything
        raise BadFile(f"adapter {str(adapter.file)!r} is damaged ({error}): download it again") from error
    for change in changes:
        change.make()


def _read(adapter: Adapter) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file, and what it says of how they were trained."""
    try:
        with safe_open(adapter.file, framework="pt") as file:
            said = json.loads((file.metadata() or {}).get("lora_adapter_metadata", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, said  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise BadFile(f"adapter {str(adapter.file)!r} cannot be read ({reason}): download it again") from error


def _is_embedding(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the vectors of a word, (D,) or (N, D), for one text encoder or for each of two."""
    return (len(tensors) == 1 or set(tensors) == set(ENCODERS)) and all(one.ndim in (1, 2) for one in tensors.values())


def _add_embedding(adapter: Adapter, tensors: Mapping[str, Tensor], texts: Mapping[str, TextEncoder]) -> None:
    """Add a word to the text encoders; the file names it, or else its own name is the word."""
    if adapter.scale != 1:
        raise InvalidParameter(f"is a word, which is there or is not: leave out the scale {adapter.scale:g}")
    widths = {part: encoder.width for part, encoder in texts.items()}
    additions = []
    for name, tensor in tensors.items():
        vectors = tensor[None] if tensor.ndim == 1 else tensor
        fitting = [
            part for part, width in widths.items() if width == vectors.shape[-1] and part == ENCODERS.get(name, part)
        ]
        if not fitting:
            raise InvalidParameter(
                f"is a word of vectors of length {vectors.shape[-1]}, and the model's words have "
                f"{' and '.join(map(str, widths.values()))}: it belongs to a model of another shape"
            )
        word = adapter.file.stem if name in (NAMELESS, *ENCODERS) else name
        additions += [(texts[part], word, vectors) for part in fitting]
    for encoder, word, vectors in additions:
        encoder.add_embedding(word, vectors)
