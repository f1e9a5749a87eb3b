"""Add an adapter to a model: its changes of layers, and its learned words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from editkit import Adapter, BadFile, InvalidParameter

from ..quantisation import is_quantised
from ..text_encoder import TextEncoder
from .changes import layer_changes
from .layers import LayerIndex
from .reading import AdapterFile, read_adapter
from .strength import check_settings
from .updates import LayerChange
from .words import additions_of, split_words


@torch.no_grad()
def add(
    adapter: Adapter, net: nn.Module, denoiser: str, texts: Mapping[str, TextEncoder]
) -> tuple[frozenset[str], tuple[str, ...]]:
    """Add an adapter to a model in place and return its words and warnings; ``denoiser`` is the part that ``net`` is.

    Raises BadFile for a file that cannot be read, and InvalidParameter for one that is no adapter or does not fit the
    model; the model is then unchanged.
    """
    file, label = read_adapter(adapter), f"adapter {str(adapter.file)!r}"
    with explained(label):
        if not file.tensors:
            raise InvalidParameter("holds no tensors: download it again")
        check_settings(file)
        words, weights = split_words(file.tensors, adapter.file.stem)
        additions, warnings = additions_of(words, 1.0 if weights else adapter.scale, texts)
        changes, more = changes_of(weights, file, LayerIndex({denoiser: net} | _nets(texts), denoiser), adapter.scale)
    apply_changes(changes)
    for addition in additions:
        addition.encoder.add_embedding(addition.word, addition.vectors)
    notes = tuple(f"{label}: {warning}" for warning in (*warnings, *more))
    return frozenset(addition.word for addition in additions), notes


@contextlib.contextmanager
def explained(label: str) -> Iterator[None]:
    """Begin the messages of errors about a file with its ``label``; raises BadFile for metadata of a wrong type."""
    try:
        yield
    except InvalidParameter as error:
        raise InvalidParameter(f"{label} {error}") from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:  # metadata may hold values of any type
        raise BadFile(f"{label} is damaged ({error}): download it again") from error


def apply_changes(changes: Sequence[LayerChange]) -> None:
    """Write changed weights into a model."""
    for change in changes:
        change.apply()


def _nets(texts: Mapping[str, TextEncoder]) -> dict[str, nn.Module]:
    return {part: encoder.net for part, encoder in texts.items()}


def changes_of(
    weights: Mapping[str, Tensor], file: AdapterFile, index: LayerIndex, scale: float
) -> tuple[list[LayerChange], list[str]]:
    """Return the changes of an adapter, none at scale 0.

    Raises InvalidParameter if the model's weights are quantised, or the changes overflow their dtype.
    """
    if not weights:
        return [], []
    for part, net in index.parts.items():
        if is_quantised(net):
            raise InvalidParameter(
                f"changes weights, and those of the {part} are quantised: use the model in float16 or bfloat16"
            )
    changes, warnings = layer_changes(weights, file, index, scale)
    if scale == 0:
        return [], warnings
    for change in changes:
        if not change.is_finite():
            raise InvalidParameter(
                f"makes weights of {change.layer} infinite in {change.layer.dtype}: use --dtype float32 or a smaller "
                "scale, or download it again"
            )
    return changes, warnings
