"""Arguments of a call as a list of tensors and the structure around them."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor


@dc.dataclass(frozen=True)
class _Place:
    """Place of a tensor in a list."""

    index: int


def take_tensors(value: Any, tensors: list[Tensor]) -> Any:
    """Return a value with places instead of its tensors, which are appended to a list.

    Tensors are found in lists, tuples and mappings of any depth.
    """
    if isinstance(value, Tensor):
        tensors.append(value)
        return _Place(len(tensors) - 1)
    if isinstance(value, (list, tuple)):
        return [take_tensors(one, tensors) for one in value]
    if isinstance(value, Mapping):
        return {name: take_tensors(one, tensors) for name, one in value.items()}
    return value


def put_tensors(structure: Any, tensors: Sequence[Tensor]) -> Any:
    """Return the value of a structure with tensors in its places; its sequences are lists."""
    if isinstance(structure, _Place):
        return tensors[structure.index]
    if isinstance(structure, list):
        return [put_tensors(one, tensors) for one in structure]
    if isinstance(structure, dict):
        return {name: put_tensors(one, tensors) for name, one in structure.items()}
    return structure
