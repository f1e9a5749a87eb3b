"""Memory of a pipeline's own methods, which every call of the pipeline calls with equal arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

KEPT = 64
"""Results that are kept of a method."""
_SMALL = 4096
"""Elements of a tensor up to which its values are compared."""


class _Object(NamedTuple):
    """A large argument, equal to itself only; holding it keeps its identity from being used again."""

    value: Any
    identity: tuple[Any, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Object) and other.identity == self.identity

    def __hash__(self) -> int:
        return hash(self.identity)


def remember(method: Callable[..., Any], leave_out: Collection[str] = (), kept: int = KEPT) -> Callable[..., Any]:
    """Return a method that keeps its last results by its arguments, except those named in ``leave_out``.

    Results are shared between calls: a pipeline does not write into them.
    """
    results: dict[Any, Any] = {}
    signature = inspect.signature(method)

    def remembered(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.arguments.update(dict.fromkeys(set(leave_out) & set(bound.arguments)))
        key = _key(bound.arguments)
        results[key] = results.pop(key) if key in results else method(*bound.args, **bound.kwargs)
        if len(results) > kept:
            del results[next(iter(results))]
        return results[key]

    return remembered


def _key(value: Any) -> Any:
    """Return a hashable key: values of numbers, texts, collections and small tensors, else the object itself."""
    if value is None or isinstance(value, (bool, int, float, str, bytes, torch.dtype, torch.device)):
        return type(value), value
    if isinstance(value, (list, tuple)):
        return type(value), tuple(map(_key, value))
    if isinstance(value, Mapping):
        return type(value), tuple((name, _key(one)) for name, one in value.items())
    if isinstance(value, Tensor) and value.device.type == "cpu" and value.numel() <= _SMALL:
        return Tensor, value.dtype, value.shape, tuple(value.flatten().tolist())
    if not isinstance(value, Tensor):
        return _Object(value, (id(value),))
    # Views of one memory, such as one with a further axis, are equal. Tensors of inference mode count no versions.
    version = 0 if value.is_inference() else value._version
    geometry = value.storage_offset(), value.shape, value.stride(), value.dtype
    return _Object(value, (value.untyped_storage().data_ptr(), *geometry, version))
