"""Costs of a run that no other process affects: network calls and samples, FLOPs, bytes of tensors."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

Result = TypeVar("Result")


@dc.dataclass
class Counts:
    """The cost of one run."""

    calls: int = 0
    """Network calls."""
    samples: int = 0
    """Network samples: rows of all calls."""
    flops: int = 0
    """FLOPs of the whole run with autoencoder and text encoder; a multiplication with its addition counts as two."""
    peak_bytes: int = 0
    """Maximum total size of simultaneously existing tensors of the run, without weights and inputs."""


class WorkCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch declares it so
    """Count FLOPs, the bytes of new tensors that exist, and the maximum of the latter.

    FLOPs are counted by torch's own formulas. Torch's counter also attributes them to modules and takes three times as
    long.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive: dict[int, int] = {}
        self.flops = self.bytes = self.peak = 0
        self.basic: set[Any] = set()
        """Operators that do not decompose into operators with formulas."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function.overloadpacket not in flop_registry and function not in self.basic:
            with self:
                result = function.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
            self.basic.add(function)
        inputs = {tensor.untyped_storage().data_ptr() for tensor in _tensors_in((args, kwargs))}
        result = function(*args, **kwargs)
        if formula := flop_registry.get(function.overloadpacket):
            self.flops += formula(*args, **kwargs, out_val=result)
        for tensor in _tensors_in(result):
            storage = tensor.untyped_storage()
            address = storage.data_ptr()
            if address not in inputs and address not in self.alive:  # not a view of an existing tensor
                self.alive[address] = storage.nbytes()
                self.bytes += storage.nbytes()
                weakref.finalize(storage, self._release, address)
        self.peak = max(self.peak, self.bytes)
        return result

    def _release(self, address: int) -> None:
        self.bytes -= self.alive.pop(address)


def _tensors_in(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


@contextlib.contextmanager
def count_calls(network: nn.Module, counts: Counts) -> Iterator[None]:
    """Count calls and rows of a network; the rows are its first argument or one of two keywords."""

    def count(_: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        rows = args[0] if args else kwargs.get("sample", kwargs.get("hidden_states"))
        counts.calls += 1
        counts.samples += len(rows)

    hook = network.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def run_counted(run: Callable[[], Result], network: nn.Module) -> tuple[Counts, Result]:
    """Run once and return the counts and the result; the run is slower than without counting."""
    counts, work = Counts(), WorkCounter()
    with count_calls(network, counts), work:
        result = run()
    counts.flops, counts.peak_bytes = work.flops, work.peak
    return counts, result


@contextlib.contextmanager
def replaced_attribute(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Set an instance attribute in the block, over the one of its class."""
    vars(owner)[name] = value
    try:
        yield
    finally:
        del vars(owner)[name]


def latents_to_decode(run: Callable[[], object], owner: Any) -> Tensor:
    """Run once, and return the first latents that ``owner`` decodes."""
    decode, decoded = owner.decode, []

    def record(latents: Tensor, *args: Any, **kwargs: Any) -> Any:
        decoded.append(latents.detach().float().cpu())
        return decode(latents, *args, **kwargs)

    with replaced_attribute(owner, "decode", record):
        run()
    return decoded[0]
