"""Headers of safetensors files: names, shapes and types of the tensors, which are read without their values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ...errors import WeightsUnavailable
from ...files.reading import LFS_POINTER


class TensorHeader(NamedTuple):
    """Shapes and types of the tensors in a safetensors file by name, and the metadata.

    A type is named as in the format, such as ``F16`` and ``BF16``.
    """

    shapes: Mapping[str, tuple[int, ...]]
    types: Mapping[str, str]
    metadata: Mapping[str, str]

    def count_numbers(self) -> Counter[str]:
        """Return how many numbers each type has."""
        counts: Counter[str] = Counter()
        for name, shape in self.shapes.items():
            counts[self.types[name]] += math.prod(shape)
        return counts


def read_tensor_header(file: Path, called: str | None = None) -> TensorHeader:
    """Read the header of a safetensors file.

    Raises WeightsUnavailable for a file that is damaged, missing, or a pointer of git-lfs; the message begins with
    ``called``, by default the path.
    """
    from safetensors import SafetensorError, safe_open

    try:
        check_download(file)
        with safe_open(file, framework="np") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118 (it is no mapping)
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
            types = {name: part.get_dtype() for name, part in slices.items()}
            return TensorHeader(shapes, types, tensors.metadata() or {})
    except OSError as error:
        raise WeightsUnavailable(f"{called or file} cannot be read ({error}): download it again") from error
    except (SafetensorError, ValueError, RecursionError) as error:
        raise WeightsUnavailable(
            f"{called or file} is damaged and cannot be read ({error}): download it again"
        ) from error


def check_download(file: Path) -> None:
    """Raise WeightsUnavailable for a pointer of git-lfs in place of weights."""
    with file.open("rb") as stream:
        if stream.read(len(LFS_POINTER)) == LFS_POINTER:
            raise WeightsUnavailable(
                f"{file} is a pointer of git-lfs and no weights: run 'git lfs pull' in its folder, or download it again"
            )
