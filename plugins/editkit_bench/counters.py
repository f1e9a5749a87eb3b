"""What a run costs in figures that no other process can disturb: calls, samples, FLOPs, bytes of tensors."""

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
    """Of the network."""
    samples: int = 0
    """Rows of all those calls."""
    flops: int = 0
    """Of all that ran, autoencoder and text encoder included; two for a multiplication with its addition."""
    peak_bytes: int = 0
    """Of the tensors that the run made and that lived at one time: weights and inputs are not among them."""


class Work(TorchDispatchMode):  # type: ignore[no-untyped-call]  # as torch declares it
    """Follows how many FLOPs were made, how many bytes of new tensors are alive, and what most of them were.

    FLOPs are counted by torch's own formulas. Its counter also says of every module how many were that one's, for
    which it takes three times as long.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive: dict[int, int] = {}
        self.flops = self.bytes = self.peak = 0
        self.basic: set[Any] = set()
        """Operators that stand for no others, of which alone there would be formulas."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function.overloadpacket not in flop_registry and function not in self.basic:
            with self:
                answer = function.decompose(*args, **kwargs)
            if answer is not NotImplemented:
                return answer
            self.basic.add(function)
        given = {tensor.untyped_storage().data_ptr() for tensor in tensors_in((args, kwargs))}
        answer = function(*args, **kwargs)
        if formula := flop_registry.get(function.overloadpacket):
            self.flops += formula(*args, **kwargs, out_val=answer)
        for tensor in tensors_in(answer):
            storage = tensor.untyped_storage()
            place = storage.data_ptr()
            if place not in given and place not in self.alive:  # not a view of what was there
                self.alive[place] = storage.nbytes()
                self.bytes += storage.nbytes()
                weakref.finalize(storage, self.freed, place)
        self.peak = max(self.peak, self.bytes)
        return answer

    def freed(self, place: int) -> None:
        self.bytes -= self.alive.pop(place)


def tensors_in(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


@contextlib.contextmanager
def door(network: nn.Module, counts: Counts) -> Iterator[None]:
    """Count who goes through a network's door: it is called with its rows first, or by one of two names."""

    def enter(_: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        rows = args[0] if args else kwargs.get("sample", kwargs.get("hidden_states"))
        counts.calls += 1
        counts.samples += len(rows)

    hook = network.register_forward_pre_hook(enter, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def counted(run: Callable[[], Result], network: nn.Module) -> tuple[Counts, Result]:
    """Run once, which takes longer than otherwise, and say what it cost and gave."""
    counts, work = Counts(), Work()
    with door(network, counts), work:
        result = run()
    counts.flops, counts.peak_bytes = work.flops, work.peak
    return counts, result


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Give an object an attribute of its own while the block lasts, over the one of its class."""
    vars(owner)[name] = value
    try:
        yield
    finally:
        del vars(owner)[name]


def decoded_by(run: Callable[[], object], owner: Any) -> Tensor:
    """Run once, and return the first latents that ``owner`` was asked to decode."""
    decode, seen = owner.decode, []

    def decoding(latents: Tensor, *args: Any, **kwargs: Any) -> Any:
        seen.append(latents.detach().float().cpu())
        return decode(latents, *args, **kwargs)

    with replaced(owner, "decode", decoding):
        run()
    return seen[0]
