"""Add adapters to any pipeline of diffusers: in the names of its layers, or in those that diffusers converts."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from editkit import Adapter, InvalidParameter, quiet

from .adding import apply_changes, changes_of, explained
from .layers import LayerIndex
from .reading import AdapterFile, read_adapter
from .strength import check_settings
from .tensor_names import parse_name
from .updates import LayerChange
from .words import split_words

_DENOISERS = ("transformer", "unet")
_BAKED = "ss_network_alpha"
"""Alpha in the header of a file, which a conversion multiplies into the weights if the tensors state it."""


@torch.no_grad()
def add_to_pipeline(adapter: Adapter, pipe: Any) -> tuple[str, ...]:
    """Add an adapter to the parts of a pipeline in place and return warnings about it.

    Names that are not those of the parts' layers are converted by the pipeline's class, if it converts LoRAs of its
    family's trainers. Raises BadFile for a file that cannot be read, and InvalidParameter for one that is no adapter
    or does not fit the model; the model is then unchanged.
    """
    file, label = read_adapter(adapter), f"adapter {str(adapter.file)!r}"
    with explained(label):
        if not file.tensors:
            raise InvalidParameter("holds no tensors: download it again")
        check_settings(file)
        words, weights = split_words(file.tensors, adapter.file.stem)
        if words:
            raise InvalidParameter("holds learned words, which this family of models does not read: leave it out")
        changes, warnings = _changes(weights, file, _index(pipe), adapter.scale, type(pipe))
    apply_changes(changes)
    return tuple(f"{label}: {warning}" for warning in warnings)


def _index(pipe: Any) -> LayerIndex:
    """Return the layers of the parts that LoRAs of a pipeline's family change."""
    denoiser = next(name for name in _DENOISERS if isinstance(getattr(pipe, name, None), nn.Module))
    names = getattr(type(pipe), "_lora_loadable_modules", [denoiser])
    parts = {name: getattr(pipe, name, None) for name in (denoiser, *names)}
    return LayerIndex({name: part for name, part in parts.items() if isinstance(part, nn.Module)}, denoiser)


def _changes(
    weights: Mapping[str, Tensor], file: AdapterFile, index: LayerIndex, scale: float, kind: type
) -> tuple[list[LayerChange], list[str]]:
    try:
        return changes_of(weights, file, index, scale)
    except InvalidParameter:
        converted = _converted(weights, kind)
        if converted is None:
            raise
        header = {name: value for name, value in file.header.items() if name != _BAKED}
        changes, warnings = changes_of(converted, dc.replace(file, tensors=converted, header=header), index, scale)
        lost = len(_modules(weights)) - len(_modules(converted))
        if lost > 0:
            warnings.append(f"diffusers leaves out {lost} of {len(_modules(weights))} layers that the file changes")
        return changes, warnings


def _modules(weights: Mapping[str, Tensor]) -> set[str]:
    return {name.module for name in map(parse_name, weights) if name is not None}


def _converted(weights: Mapping[str, Tensor], kind: Any) -> Mapping[str, Tensor] | None:
    """Return the weights in the names of diffusers, with their alphas multiplied in; None if ``kind`` has no others.

    Weights of a DoRA are not converted: diffusers leaves out their magnitudes.
    """
    if not hasattr(kind, "lora_state_dict") or any("dora_scale" in name for name in weights):
        return None
    with quiet():
        try:
            converted = kind.lora_state_dict(dict(weights))
        except Exception:  # whatever code for other names runs into
            return None
    # A pair has alphas beside the weights, as in families whose names need no conversion here.
    unconverted = not isinstance(converted, dict) or converted.keys() == weights.keys()
    return None if unconverted else converted
