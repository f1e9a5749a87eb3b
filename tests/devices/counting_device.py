"""The device ``counting``: tensors of the CPU behind a device of their own, as torch's backends in Python have it.

It computes as the CPU does and refuses operations on tensors of two devices, as a GPU does. What makes a host wait for
a GPU is counted: values that are read from the device, copies to it other than by ``editkit.to_device``, lists as an
index.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

DEVICE = "counting"
CPU = torch.device("cpu")

WAITS: Counter[str] = Counter()
"""Waits by their cause."""

_READ = {"_local_scalar_dense", "item", "is_nonzero", "equal", "allclose", "nonzero", "masked_select", "_unique2"}
"""Operations whose result the host reads, or whose size depends on values."""
_MOVE = {"_to_copy", "to"}
_INDEX = ("index", "_index_put")


class CountedTensor(Tensor):
    """Tensor on the counting device; ``held`` is the tensor on the CPU that it stands for."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls: type[CountedTensor], held: Tensor) -> CountedTensor:
        tensor: CountedTensor = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(DEVICE, 0),
        )
        tensor.held = held
        return tensor

    def __init__(self, held: Tensor) -> None: ...

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(_index_on_device(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_index_on_device(key), value)


def _index_on_device(key: Any) -> Any:
    """Return an index with lists as tensors on the device, which takes a copy."""

    def convert(part: Any) -> Any:
        return torch.tensor(part).to(DEVICE) if isinstance(part, list) else part

    return tuple(map(convert, key)) if isinstance(key, tuple) else convert(key)


def _run(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Run an operation on the tensors behind those of the device."""
    with torch.inference_mode(False), torch.no_grad():
        leaves = tree_leaves((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        target = next((leaf for leaf in leaves if isinstance(leaf, torch.device)), None)
        name = function._schema.name.removeprefix("aten::")
        _count(name, args, tensors, target)
        held_args, held_kwargs = tree_map(_without_device, (args, kwargs))
        result = function(*held_args, **held_kwargs)
        if name == "copy_" and not isinstance(args[0], CountedTensor):
            return args[0]
        if name in _READ or (name in _MOVE and target is not None and target.type == "cpu"):
            return result
        # An operation in place returns its argument.
        own = {id(one.held): one for one in tensors if isinstance(one, CountedTensor)}
        return tree_map(lambda leaf: own[id(leaf)] if id(leaf) in own else _on_device(leaf), result)


def _count(name: str, args: Sequence[Any], tensors: Sequence[Tensor], target: torch.device | None) -> None:
    """Count the wait of an operation; raises RuntimeError for tensors on two devices."""
    near = [tensor for tensor in tensors if not isinstance(tensor, CountedTensor)]
    if name == "copy_":
        # A copy that converts passes through memory that is not page-locked.
        is_asynchronous = len(args) > 2 and args[2] and args[0].dtype == args[1].dtype
        is_awaited = not is_asynchronous or isinstance(args[1], CountedTensor)
        WAITS["copy"] += bool(near) and bool(args[1].numel()) and is_awaited
    elif name in _MOVE:
        WAITS["copy to the host"] += target is not None and target.type == "cpu"
    elif name.startswith(_INDEX):
        masks = [leaf for leaf in tree_leaves(args[1]) if isinstance(leaf, Tensor) and leaf.dtype == torch.bool]
        WAITS["index"] += bool(masks or [tensor for tensor in near if tensor.ndim])
    elif any(tensor.ndim for tensor in near):
        raise RuntimeError(f"{name} has tensors on the CPU and on another device")
    elif name in _READ:
        WAITS[name] += 1


def _without_device(leaf: Any) -> Any:
    if isinstance(leaf, CountedTensor):
        return leaf.held
    return CPU if isinstance(leaf, torch.device) else leaf


def _on_device(leaf: Any) -> Any:
    return CountedTensor(leaf) if isinstance(leaf, Tensor) and not isinstance(leaf, CountedTensor) else leaf


_LIBRARIES: list[torch.library.Library] = []
"""Registered operations, which end with these objects."""


def register() -> None:
    """Add the device to torch, for the rest of the process."""
    _setup_privateuseone_for_python_backend(DEVICE)
    every, aten = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    every.fallback(lambda function, *args, **kwargs: _run(function, args, kwargs), "PrivateUse1")

    def arange(*ends: float, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
        return CountedTensor(torch.arange(*ends, dtype=dtype))

    for overload in ("arange", "arange.start", "arange.start_step"):
        aten.impl(overload, arange, "PrivateUse1")
    _LIBRARIES.extend([every, aten])


@contextlib.contextmanager
def counted_waits() -> Iterator[Counter[str]]:
    """Yield the counter of the waits in the block, which begins at 0."""
    names = ("tensor", "as_tensor")
    before = {name: getattr(torch, name) for name in names}
    WAITS.clear()
    for name, function in before.items():
        setattr(torch, name, _from_host(function))
    try:
        yield WAITS
    finally:
        for name, function in before.items():
            setattr(torch, name, function)


def _from_host(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let a function that makes tensors from Python's numbers copy them: torch's own makes none on such a device."""

    def call(*args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        is_counted = device is not None and torch.device(device).type == DEVICE
        made = function(*args, device=None if is_counted else device, **kwargs)
        return made.to(device) if is_counted else made

    return call
