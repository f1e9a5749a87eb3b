"""Reuse of the deep features of a U-Net between network calls (DeepCache: Ma et al., arXiv 2312.00858)."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import functools
import threading
from collections.abc import Hashable, Iterator
from contextvars import ContextVar
from typing import Any

import torch
from diffusers.models.unets.unet_2d_blocks import CrossAttnUpBlock2D, UpBlock2D
from torch import Tensor, nn

from editkit import ExecutionOptions, InvalidParameter, ReusedCalls, current_rows

from .inference import run_network

_BLOCKS = (CrossAttnUpBlock2D, UpBlock2D)
"""Classes of last blocks whose last layer can be called alone."""


@dc.dataclass
class _Kept:
    """Deep features of one call, (B, C, h, w): the input of the last layer without the skip connection."""

    features: Tensor
    sigma: float
    calls: int = 1
    """Number of calls that used them, with the one that computed them."""


@dc.dataclass(frozen=True)
class _Reuse:
    """Features of a walk; no other walk and no other rows use them."""

    model: Any
    every: int
    calls: ReusedCalls
    kept: dict[Hashable, _Kept] = dc.field(default_factory=dict)


_REUSE: ContextVar[_Reuse | None] = ContextVar("_REUSE", default=None)


def reuses_features(net: nn.Module) -> bool:
    """Return whether the last layer of a network can be called with features of an earlier call."""
    blocks: Any = getattr(net, "up_blocks", ())
    return len(blocks) > 0 and type(blocks[-1]) in _BLOCKS


def check_whole_network(execution: ExecutionOptions, control: str) -> None:
    """Raise InvalidParameter for execution options of a network that must be called as a whole."""
    for name in ("compile", "offload", "group_offload"):
        if getattr(execution, name):
            raise InvalidParameter(
                f"{control} is not allowed beside {name}=True: it calls parts of the network; leave one out"
            )


class FeatureReuse:
    """Base of backends of U-Nets, for the capability ``feature-reuse``."""

    execution: Any

    @contextlib.contextmanager
    def reusing(self, every: int) -> Iterator[ReusedCalls]:
        check_whole_network(self.execution, "deep-cache")
        calls = ReusedCalls()
        token = _REUSE.set(_Reuse(self, every, calls))
        try:
            yield calls
        finally:
            _REUSE.reset(token)


def run_reusing(model: Any, net: Any, x: Tensor, **conditions: Any) -> Tensor:
    """Call a U-Net of a model, or its last layer alone where the walk in this thread reuses deep features.

    Features are those of the same rows under the same conditions of guidance, and of a step before: a walk that
    returns to a higher sigma computes them anew.
    """
    reuse, rows = _REUSE.get(), current_rows()
    if reuse is None or reuse.model is not model or not rows or torch.is_grad_enabled():
        return run_network(net, x, **conditions)
    key = (x.shape, *((row.condition, row.row) for row in rows))
    sigma = max(row.point.sigma for row in rows)
    kept = reuse.kept.get(key)
    if kept is not None and kept.calls < reuse.every and sigma <= kept.sigma:
        kept.sigma, kept.calls, reuse.calls.partial = sigma, kept.calls + 1, reuse.calls.partial + 1
        return run_network(functools.partial(type(net).forward, _LastLayer(net, kept.features)), x, **conditions)
    reuse.calls.whole += 1
    with _recorded_input(net) as recorded:
        estimate = run_network(net, x, **conditions)
    reuse.kept[key] = _Kept(recorded[0], sigma)
    return estimate


@contextlib.contextmanager
def _recorded_input(net: Any) -> Iterator[list[Tensor]]:
    """Append the deep features of a call in this thread to a list."""
    recorded: list[Tensor] = []
    thread = threading.get_ident()

    def record(module: nn.Module, inputs: Any) -> None:
        if threading.get_ident() == thread:
            recorded.append(inputs[0][:, : inputs[0].shape[1] - net.conv_in.out_channels].clone())

    handle = net.up_blocks[-1].resnets[-1].register_forward_pre_hook(record)
    try:
        yield recorded
    finally:
        handle.remove()


class _LastLayer:
    """A U-Net of which only the first convolution, the embeddings and the last layer are there, for its ``forward``.

    The skip connection between both is computed anew, with the residual of a ControlNet; what lies between is replaced
    by ``features``.
    """

    mid_block = None

    def __init__(self, net: Any, features: Tensor) -> None:
        self._net = net
        self.down_blocks: tuple[nn.Module, ...] = ()
        self.up_blocks = (_LastBlock(net.up_blocks[-1], features),)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._net, name)


class _LastBlock:
    """The last layer of a block, which takes features in place of the output of the layers before."""

    def __init__(self, block: Any, features: Tensor) -> None:
        self.resnets, self.features = [block.resnets[-1]], features
        self.has_cross_attention = getattr(block, "has_cross_attention", False)
        self.attention = block.attentions[-1] if self.has_cross_attention else None

    def __call__(
        self,
        hidden_states: Tensor,
        temb: Tensor,
        res_hidden_states_tuple: tuple[Tensor, ...],
        upsample_size: Any = None,
        **attention: Any,
    ) -> Tensor:
        hidden: Tensor = self.resnets[0](torch.cat([self.features, res_hidden_states_tuple[-1]], 1), temb)
        return hidden if self.attention is None else self.attention(hidden, **attention, return_dict=False)[0]
