"""Network calls in which the blocks of a transformer compute some of the image tokens only.

Before the first block, the tokens left out are taken out of the sequences of image tokens, alone or beside the words;
before every block also out of what belongs to them, such as rotary embeddings. After the last block zeros stand in
their places, so that the network ends as it always does. Sequences are recognised by their lengths; whether all of that
is right for a network is measured once, see :func:`check_selection`.
"""

from __future__ import annotations

import contextlib
import dataclasses as dc
import functools
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editkit import AttentionInputs, AttentionSite, MissingCapability

from .tap import AttentionCall, tap

Sites = Mapping[str, AttentionSite]
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
"""Largest error of an estimate without the other tokens, relative to the prediction, by dtype of the network."""
_COARSE = 0.1
"""The same in half precision."""


@dc.dataclass(frozen=True)
class TokenSelection:
    """Image tokens that a network computes."""

    chosen: Tensor
    """(T,) of booleans, on the CPU."""
    sites: Sites
    """Sites of the network with all tokens."""
    lengths: Mapping[str, int]
    """Number of queries of each site, image tokens and all others."""

    @functools.cached_property
    def reduced_sites(self) -> Sites:
        """The sites with the spans of the tokens that are computed."""
        return {name: self._reduced(site) for name, site in self.sites.items()}

    def _reduced(self, site: AttentionSite) -> AttentionSite:
        left_out = len(self.chosen) - int(self.chosen.sum())

        def moved(span: slice, image: slice) -> slice:
            shift = left_out if image.stop > image.start and span.start >= image.stop else 0
            return slice(span.start - shift, span.stop - shift)

        return dc.replace(
            site,
            image=slice(site.image.start, site.image.stop - left_out),
            image_keys=slice(site.image_keys.start, max(site.image_keys.stop - left_out, site.image_keys.start)),
            words=moved(site.words, site.image_keys),
        )

    @functools.cached_property
    def places(self) -> dict[int, Tensor]:
        """Places that are computed in a sequence of image tokens and in those of joint attention, by their length."""
        count = len(self.chosen)
        places = {count: self.chosen.nonzero().flatten()}
        for name, site in self.sites.items():
            length = self.lengths[name]
            if site.kind == "joint" and length not in places:
                kept = torch.ones(length, dtype=torch.bool)
                kept[site.image] = self.chosen
                places[length] = kept.nonzero().flatten()
        return places

    @property
    def blocks(self) -> list[str]:
        """Paths of the blocks whose attentions are sites, in the order of evaluation."""
        found = [re.match(r"^(.*?\.\d+)\.", site.name) for site in self.sites.values()]
        return list(dict.fromkeys(match.group(1) for match in found if match))

    def check_lengths(self, net: nn.Module) -> None:
        """Raise MissingCapability if the sites do not tell which tokens are those of the image."""
        sites = list(self.sites.values())
        counts = {site.image.stop - site.image.start for site in sites}
        others = {length - len(self.chosen) for length in self.places if length != len(self.chosen)}
        if any(site.depth != "flat" for site in sites):
            raise _not_possible(net, "whose convolutions take every place")
        if counts != {len(self.chosen)} or len(self.places) > 2 or not self.blocks:
            raise _not_possible(net, "whose blocks have sequences of different lengths")
        if others & {len(self.chosen), int(self.chosen.sum())}:
            raise MissingCapability(
                f"tokens cannot be left out where the prompt has {others.pop()} of them, as many as the image or the "
                "mask: change the size of either"
            )

    @contextlib.contextmanager
    def applied(self, net: nn.Module) -> Iterator[None]:
        """Compute the chosen tokens only in this thread."""
        call, blocks = _Call(self), [net.get_submodule(name) for name in self.blocks]
        with contextlib.ExitStack() as stack:
            for number, block in enumerate(blocks):
                hook = functools.partial(call.enter, number)
                stack.callback(block.register_forward_pre_hook(hook, with_kwargs=True).remove)
            stack.callback(blocks[-1].register_forward_hook(call.leave).remove)
            yield


class _Call:
    """One network call with a selection, in the thread that made it."""

    def __init__(self, selection: TokenSelection) -> None:
        self.places = selection.places
        self.thread = threading.get_ident()
        self.widths: set[tuple[int, int]] = set()
        self.channels: set[int] = set()
        self.selected: dict[int, tuple[Tensor, Tensor]] = {}

    def enter(self, number: int, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        """Return the arguments of a block without the tokens that are left out."""
        if threading.get_ident() != self.thread:
            return None
        if number == 0:
            self.widths.clear()
            self.selected.clear()
            self.channels.clear()
            _map([*args, *kwargs.values()], self._note_channels)
        is_first = number == 0
        return tuple(_map(value, lambda one: self._select(one, is_first=is_first)) for value in args), {
            name: _map(value, lambda one: self._select(one, is_first=is_first)) for name, value in kwargs.items()
        }

    def _note_channels(self, tensor: Tensor) -> Tensor:
        if tensor.ndim == 3 and tensor.is_floating_point() and tensor.shape[1] in self.places:
            self.channels.add(tensor.shape[2])
        return tensor

    def _select(self, tensor: Tensor, *, is_first: bool) -> Tensor:
        if id(tensor) in self.selected:
            return self.selected[id(tensor)][1]
        axis = next((axis for axis in _token_axes(tensor) if tensor.shape[axis] in self.places), None)
        if axis is None:
            return tensor
        if axis == tensor.ndim - 1 and tensor.is_floating_point() and tensor.shape[axis] in self.channels:
            return tensor  # a modulation of all tokens, of which there are as many as channels: FLUX.1 at 1024 x 768
        is_sequence = tensor.ndim == 3 and axis == 1 and tensor.is_floating_point()
        if is_sequence and is_first:
            self.widths.add((tensor.shape[0], tensor.shape[2]))
        elif is_sequence and (tensor.shape[0], tensor.shape[2]) in self.widths:
            return tensor  # from the block before: its length may be that of a whole sequence by chance
        part = tensor
        for each in [axis] if not _is_square(tensor, axis) else [axis, axis + 1]:
            part = part.index_select(each, self.places[tensor.shape[axis]].to(tensor.device))
        self.selected[id(tensor)] = tensor, part  # the tensor is held, so that its id remains its own
        return part

    def leave(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        """Return the output of the last block with zeros in the places that were left out."""
        if threading.get_ident() != self.thread:
            return output
        self.selected.clear()
        return _map(output, self._scatter)

    def _scatter(self, tensor: Tensor) -> Tensor:
        for length, places in self.places.items():
            if tensor.ndim == 3 and tensor.shape[1] == len(places):
                whole = tensor.new_zeros(tensor.shape[0], length, tensor.shape[2])
                return whole.index_copy(1, places.to(tensor.device), tensor)
        return tensor


def _token_axes(tensor: Tensor) -> list[int]:
    """Return the axes of a tensor that may be those of tokens, the likeliest first."""
    return [*range(1, tensor.ndim - 1), 0, *([tensor.ndim - 1] if tensor.ndim > 1 else [])]


def _is_square(tensor: Tensor, axis: int) -> bool:
    """Return whether an axis of queries is followed by one of keys, as in a mask (B, 1, T, T)."""
    return axis == tensor.ndim - 2 == 2 and tensor.shape[-1] == tensor.shape[-2]


def _map(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Apply a function to the tensors in a value, also in tuples and lists."""
    if isinstance(value, Tensor):
        return function(value)
    if type(value) in (tuple, list):
        return type(value)(_map(one, function) for one in value)
    return value


def check_selection(
    net: nn.Module, evaluate: Callable[[Tensor], Tensor], x: Tensor, sites: Sites, chosen: Tensor
) -> dict[str, int]:
    """Return the number of queries of each site after measuring that a network can leave image tokens out.

    ``evaluate(x)`` returns the x0 estimate of latents (1, C, h, w). With the keys and values that the tokens left out
    have in a whole call, the estimate of the chosen tokens is that of the whole call; raises MissingCapability if not.
    """
    kept: dict[str, tuple[Tensor, Tensor]] = {}
    lengths: dict[str, int] = {}

    def record(call: AttentionCall) -> Tensor:
        site, inputs = sites.get(call.name), call.inputs
        if site is not None:
            lengths[call.name] = inputs["query"].shape[2]
            rest = [inputs[name][:, :, site.image_keys] for name in ("key", "value")]
            kept[call.name] = (rest[0], rest[1])
        return _attend(call)

    with tap(net, record):
        whole = evaluate(x)
    selection = TokenSelection(chosen, sites, lengths)
    selection.check_lengths(net)
    others = (~chosen).nonzero().flatten().to(x.device)

    def complete(call: AttentionCall) -> Tensor:
        site, inputs = sites.get(call.name), call.inputs
        if site is None or site.kind == "cross":
            return _attend(call)
        query, key, value = (inputs[name] for name in ("query", "key", "value"))
        site = selection.reduced_sites[call.name]
        reduced = AttentionInputs(site, query, key, value, inputs.get("attn_mask"), call.attend)
        return reduced.attend_beside(*(tensor.index_select(2, others) for tensor in kept[call.name]))

    try:
        with tap(net, complete), selection.applied(net):
            part = evaluate(x)
    except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
        raise _not_possible(net, "which needs every token") from error
    grid = next(iter(sites.values())).grid
    marked = F.interpolate(chosen.view(1, 1, *grid).float().to(x.device), x.shape[-2:]) > 0
    difference, size = (((one - other) * marked).float().norm() for one, other in ((part, whole), (whole, x)))
    if not bool(difference <= _TOLERANCE.get(next(net.parameters()).dtype, _COARSE) * size):
        raise _not_possible(net, "whose estimate is another one then")
    return lengths


def _attend(call: AttentionCall) -> Tensor:
    inputs = call.inputs
    return call.attend(inputs["query"], inputs["key"], inputs["value"], inputs.get("attn_mask"))


def _not_possible(net: nn.Module, reason: str) -> MissingCapability:
    return MissingCapability(
        f"tokens cannot be left out of the network {type(net).__name__}, {reason}: leave the control out"
    )
