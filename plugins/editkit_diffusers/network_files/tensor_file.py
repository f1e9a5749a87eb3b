"""Files of the tensors of one network: names and shapes first, and values when they are known to fit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from editkit import read_tensor_header

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_PREFIXES = ("model.diffusion_model.", "diffusion_model.")
"""Beginnings of the names of a network's tensors in a file with other parts, or written as one."""


class TensorFile(Protocol):
    """A file of tensors: the names of all as stored, and ``names`` of those of the network within it."""

    label: str
    stored: Collection[str]
    names: Mapping[str, str]
    header: Mapping[str, str]

    def sketch(self) -> dict[str, Tensor]:
        """Return tensors of the true shapes without values (on ``meta``), by their names within the network."""

    def values(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return the tensors by the same names, those with scales in ``dtype``, the others as stored."""


def open_tensor_file(file: Path, called: str) -> TensorFile:
    """Read the names and shapes in a safetensors or GGUF file; messages begin with ``called`` and its name.

    Raises WeightsUnavailable for a file that cannot be read, with the reason.
    """
    label = f"{called} {str(file)!r}"
    if file.suffix == ".gguf":
        from .gguf_file import GgufFile

        return GgufFile(file, label)
    return SafetensorsFile(file, label)


def network_names(names: Iterable[str]) -> dict[str, str]:
    """Return the names within the network of the tensors that belong to it, by their names in the file."""
    names = list(names)
    prefix = next((one for one in _PREFIXES if any(name.startswith(one) for name in names)), "")
    return {name: name.removeprefix(prefix) for name in names if name.startswith(prefix)}


class SafetensorsFile:
    """A safetensors file, whose 8-bit weights may have scales."""

    def __init__(self, file: Path, label: str) -> None:
        self.file, self.label = file, label
        header = read_tensor_header(file, label)
        self._shapes, self.header = header.shapes, header.metadata
        self.stored: Collection[str] = list(self._shapes)
        self.names: Mapping[str, str] = network_names(self._shapes)

    def sketch(self) -> dict[str, Tensor]:
        import torch

        from ..scaled_weights import holds_weights

        shapes = {name: self._shapes[stored] for stored, name in self.names.items()}
        return {name: torch.empty(shape, device="meta") for name, shape in shapes.items() if holds_weights(name)}

    def values(self, dtype: torch.dtype) -> dict[str, Tensor]:
        from safetensors import safe_open

        from ..scaled_weights import unscale

        with safe_open(self.file, framework="pt") as tensors:
            loaded = {name: tensors.get_tensor(stored) for stored, name in self.names.items()}
        return unscale(loaded, self.header, self.label, dtype)
