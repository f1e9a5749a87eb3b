"""Layers of a model by the names that adapter files give them."""

from __future__ import annotations

import dataclasses as dc
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..ldm_key_names import original_name
from .recognition import base_of
from .tensor_names import DENOISER, TensorName
from .transformer_names import original_layers

_EARLY_NAMES = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
"""Names of text-encoder projections in early files of diffusers, and their present names."""


@dc.dataclass(frozen=True)
class Layer:
    """Layer of a model as an adapter file names it: one module, or several whose rows follow each other.

    If ``swapped``, the halves of its rows are in the other order in the file.
    """

    part: str
    name: str
    modules: tuple[Any, ...]
    swapped: bool = False

    def __str__(self) -> str:
        return f"{self.part}.{self.name}"

    @property
    def weight_shape(self) -> tuple[int, ...]:
        first = self.modules[0].weight.shape
        return (sum(len(module.weight) for module in self.modules), *first[1:])

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.modules[0].weight.dtype
        return dtype

    @property
    def has_bias(self) -> bool:
        return all(getattr(module, "bias", None) is not None for module in self.modules)

    def read(self, kind: str) -> Tensor:
        """Return the ``weight`` or ``bias`` in float32 or higher, in the order of the file."""
        values = torch.cat([getattr(module, kind) for module in self.modules])
        return self._reorder(values.to(torch.promote_types(values.dtype, torch.float32)))

    def write(self, kind: str, values: Tensor) -> None:
        """Replace the ``weight`` or ``bias`` in place."""
        sizes = [len(getattr(module, kind)) for module in self.modules]
        for module, rows in zip(self.modules, torch.split(self._reorder(values), sizes), strict=True):
            getattr(module, kind).copy_(rows)

    def _reorder(self, values: Tensor) -> Tensor:
        return torch.cat(values.chunk(2)[::-1]) if self.swapped else values


class LayerIndex:
    """Layers of the parts of a model: ``denoiser`` is the name of its UNet or transformer among ``parts``."""

    def __init__(self, parts: Mapping[str, nn.Module], denoiser: str) -> None:
        self.parts, self.denoiser = parts, denoiser
        self.layers = {part: _layers_by_spelling(part, net) for part, net in parts.items()}

    @property
    def base(self) -> str | None:
        """Model that adapters with these names of layers are made for."""
        return base_of(self.layers[self.denoiser])

    def part_of(self, name: TensorName) -> str:
        """Return the part of the model that a tensor's name means; one that the model lacks under its own name."""
        if name.part == DENOISER:
            return self.denoiser
        if name.part == "text_encoder_3" and name.part not in self.parts:
            return self._last_t5() or name.part
        return name.part

    def find(self, name: TensorName) -> Layer | None:
        """Return the layer that a tensor's name means, or None if the model has none of that name."""
        part = self.part_of(name)
        layer = self._find(part, name.module)
        texts = [other for other in self.parts if other != self.denoiser]
        if layer is None and name.bare and len(texts) == 1:
            return self._find(texts[0], name.module)
        return layer

    def _find(self, part: str, module: str) -> Layer | None:
        known = self.layers.get(part, {})
        return next((known[name] for name in _candidate_names(module) if name in known), None)

    def _last_t5(self) -> str | None:
        """Return the T5 encoder, which some trainers number as a third where the model has two encoders."""
        t5 = [part for part, net in self.parts.items() if part != self.denoiser and hasattr(net, "shared")]
        return t5[-1] if t5 else None


def _layers_by_spelling(part: str, net: nn.Module) -> dict[str, Layer]:
    """Return the layers with a weight by normalised name; those of the first implementations by their names too."""
    named = {
        name: module for name, module in net.named_modules() if isinstance(getattr(module, "weight", None), Tensor)
    }
    layers = {_normalise(name): Layer(part, name, (module,)) for name, module in named.items()}
    per_block = getattr(net.config, "layers_per_block", None)
    if isinstance(per_block, int):
        layers |= {
            _normalise(original_name(name, per_block)): Layer(part, name, (module,)) for name, module in named.items()
        }
    originals = original_layers(type(net).__name__, set(named))
    return layers | {
        _normalise(name): Layer(part, name, tuple(named[one] for one in original.layers), original.swapped)
        for name, original in originals.items()
    }


def _normalise(name: str) -> str:
    """Return a module's name in the one spelling that the names of all trainers can be converted to."""
    # An upsampler is numbered after the attention of its block, so its number depends on whether there is one.
    flat = re.sub(r"(output_blocks_\d+)_[12]_conv$", r"\1_conv", name.replace(".", "_"))
    return flat.replace("_processor_", "_").removeprefix("text_model_")


def _candidate_names(module: str) -> Iterator[str]:
    """Yield the possible names of a module in the index."""
    name = _normalise(module)
    yield name
    if name.endswith("_to_out"):
        yield f"{name}_0"
    stem, _, last = name.rpartition("_self_attn_")
    if last in _EARLY_NAMES:
        yield f"{stem}_self_attn_{_EARLY_NAMES[last]}"
