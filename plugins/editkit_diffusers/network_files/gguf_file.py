"""Networks in GGUF files, whose weights stay quantised until they are used, as in diffusers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editkit import WeightsUnavailable, reason_of

from .tensor_file import network_names

INSTALL = "pip install 'editkit[gguf]'"
_OLDEST = (0, 13)
"""First release of the package that reads files with NumPy 2."""
_SHAPE = "comfy.gguf.orig_shape."
"""Beginning of the fields with the shapes of tensors that were written in another one."""


class GgufFile:
    """A GGUF file; raises WeightsUnavailable if the package gguf is missing, or the file is damaged or of other types.

    Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
    """

    def __init__(self, file: Path, label: str) -> None:
        self.file, self.label = file, label
        self.header: Mapping[str, str] = {}
        try:
            self._reader = _open_reader(file)
            self.shapes = {one.name: self._shape_of(one) for one in self._reader.tensors}
        except ImportError as error:
            raise WeightsUnavailable(
                f"{label} is a GGUF file, which needs gguf {'.'.join(map(str, _OLDEST))} or later: {INSTALL}"
            ) from error
        except Exception as error:  # a damaged file raises whatever its first wrong number leads to
            raise WeightsUnavailable(f"{label} cannot be read ({reason_of(error)}): download it again") from error
        self.stored: Collection[str] = list(self.shapes)
        self.names: Mapping[str, str] = network_names(self.shapes)
        self._check_types()

    def _shape_of(self, tensor: Any) -> tuple[int, ...]:
        """Return the shape of a tensor as networks have it; GGUF counts dimensions from the last."""
        field = self._reader.get_field(f"{_SHAPE}{tensor.name}")
        stored = tensor.shape.tolist()[::-1] if field is None else [field.parts[index][0] for index in field.data]
        return tuple(int(side) for side in stored)

    def _check_types(self) -> None:
        """Raise WeightsUnavailable for a quantisation that diffusers does not read."""
        from diffusers.quantizers.gguf.utils import SUPPORTED_GGUF_QUANT_TYPES
        from gguf import GGMLQuantizationType

        read = [GGMLQuantizationType.F32, GGMLQuantizationType.F16, *SUPPORTED_GGUF_QUANT_TYPES]
        for tensor in self._reader.tensors:
            if tensor.tensor_type not in read:
                raise WeightsUnavailable(
                    f"{self.label} holds {tensor.name} as {tensor.tensor_type.name}, which is not supported: get one "
                    f"in {', '.join(sorted(one.name for one in SUPPORTED_GGUF_QUANT_TYPES))}"
                )

    def sketch(self) -> dict[str, Tensor]:
        return {name: torch.empty(self.shapes[stored], device="meta") for stored, name in self.names.items()}

    def values(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return the tensors, quantised ones as GGUFParameter of bytes."""
        from diffusers.models.model_loading_utils import load_gguf_checkpoint

        loaded = load_gguf_checkpoint(self.file)
        return {name: self._reshaped(loaded[stored], self.shapes[stored], dtype) for stored, name in self.names.items()}

    @staticmethod
    def _reshaped(tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return a tensor in its true shape, which a quantised one that was written in another has not."""
        if tuple(getattr(tensor, "quant_shape", tensor.shape)) == shape:
            return tensor
        return dequantised(tensor, dtype).reshape(shape)


def dequantised(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the values of a tensor that may be quantised."""
    from diffusers.quantizers.gguf.utils import dequantize_gguf_tensor

    values: Tensor = dequantize_gguf_tensor(tensor).to(dtype)
    return values


def _open_reader(file: Path) -> Any:
    from gguf import GGUFReader

    if tuple(int(number) for number in version("gguf").split(".")[:2]) < _OLDEST:
        raise ImportError("gguf is too old")

    class Reader(GGUFReader):  # type: ignore[misc]  # gguf is not a dependency
        """Reader that does not take what lies beyond the end of a file for empty numbers."""

        def _get(self, offset: int, dtype: Any, count: Any = 1, *more: Any, **options: Any) -> Any:
            numbers = super()._get(offset, dtype, count, *more, **options)
            if len(numbers) != int(count):
                raise ValueError("it is cut short")
            return numbers

    return Reader(file)
