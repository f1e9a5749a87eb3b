"""First-block cache of diffusers on a copy of a transformer for each walk (on the idea of arXiv 2411.19108)."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import torch
from diffusers import FirstBlockCacheConfig
from torch import Tensor, nn

from editkit import ReusedCalls, current_rows

from .deep_features import check_whole_network
from .inference import run_network
from .shared_network import share


@dc.dataclass(frozen=True)
class _Caching:
    """A walk's copy of a network, which keeps the residuals of earlier calls."""

    net: Any
    """The network of the model."""
    copy: Any
    calls: ReusedCalls


_CACHING: ContextVar[_Caching | None] = ContextVar("_CACHING", default=None)


class BlockCaching:
    """Base of backends of transformers that have a cache in diffusers, for the capability ``block-cache``."""

    execution: Any
    net: Any

    @contextlib.contextmanager
    def caching_blocks(self, threshold: float) -> Iterator[ReusedCalls]:
        check_whole_network(self.execution, "first-block-cache")
        copy, calls, thread = share(self.net), ReusedCalls(), threading.get_ident()
        copy.enable_cache(FirstBlockCacheConfig(threshold=threshold))

        def count(module: nn.Module, inputs: Any) -> None:
            # The copy has the hooks of the network, which other threads call.
            calls.whole += threading.get_ident() == thread

        blocks = [*copy.transformer_blocks, *copy.single_transformer_blocks]
        handle = next(blocks[-1].children()).register_forward_pre_hook(count)
        token = _CACHING.set(_Caching(self.net, copy, calls))
        try:
            yield calls
        finally:
            _CACHING.reset(token)
            handle.remove()


def run_caching(net: Any, x: Tensor, **conditions: Any) -> Tensor:
    """Call a network, or the copy of a walk that caches its blocks for the same rows under the same conditions.

    Calls with the residuals of a ControlNet, which are added after cached blocks, are whole.
    """
    caching, rows = _CACHING.get(), current_rows()
    if caching is None or caching.net is not net or not rows or torch.is_grad_enabled():
        return run_network(net, x, **conditions)
    if any(name.startswith("controlnet") for name in conditions):
        caching.calls.whole += 1
        return run_network(net, x, **conditions)
    whole = caching.calls.whole
    with caching.copy.cache_context(f"{tuple(x.shape)} {[(row.condition, row.row) for row in rows]}"):
        estimate = run_network(caching.copy, x, **conditions)
    caching.calls.partial += caching.calls.whole == whole
    return estimate
