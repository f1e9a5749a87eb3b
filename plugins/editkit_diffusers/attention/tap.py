"""Tap of a network: the one call of each attention module goes to a function.

No processor is replaced: hooks on the modules that have one name the attention in progress, and a mode of torch
replaces its call of ``scaled_dot_product_attention``. Both act in one thread only and end with the context.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers.models.attention_dispatch import attention_backend
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from editkit import MissingCapability

_ATTEND = F.scaled_dot_product_attention
_ARGUMENTS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


class AttentionCall(NamedTuple):
    """One call of attention: its name, and the inputs of ``scaled_dot_product_attention``."""

    name: str
    """Name of the module; further calls of one module end with their number, as in ``attn#1``."""
    inputs: dict[str, Any]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        """Attend as the network does, with other tensors."""
        return _ATTEND(**{**self.inputs, "query": query, "key": key, "value": value, "attn_mask": bias})


Handler = Callable[[AttentionCall], Tensor]
"""Function that computes an attention: a call to (B, heads, queries, d)."""


class _Tap(TorchFunctionMode):
    """Mode that hands the attention of the module in progress to a handler."""

    def __init__(self, handler: Handler) -> None:
        super().__init__()
        self.handler = handler
        self.module: str | None = None
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not _ATTEND or self.module is None:
            return func(*args, **kwargs)
        # Torch disables the mode here, so that the handler may attend itself.
        inputs = dict(zip(_ARGUMENTS, args, strict=False)) | kwargs
        name = f"{self.module}#{self.calls}" if self.calls else self.module
        self.calls += 1
        return self.handler(AttentionCall(name, inputs))

    def enter(self, module: str) -> None:
        """Note that the attention of ``module`` begins."""
        self.module, self.calls = module, 0

    def leave(self) -> None:
        """Note that the attention in progress ends; raises MissingCapability if it has not called the function."""
        module, self.module = self.module, None
        if self.calls == 0:
            raise MissingCapability(
                f"attention control needs networks that call scaled_dot_product_attention, and the attention "
                f"{module} does not: leave the control out"
            )


_ACTIVE: ContextVar[_Tap | None] = ContextVar("_ACTIVE", default=None)


@contextlib.contextmanager
def tap(net: nn.Module, handler: Handler) -> Iterator[None]:
    """Compute every attention of ``net`` in this thread by ``handler``."""
    mode = _Tap(handler)
    with contextlib.ExitStack() as stack:
        for name, part in net.named_modules():
            if hasattr(part, "get_processor"):
                stack.callback(part.register_forward_pre_hook(_enter(mode, name)).remove)
                stack.callback(part.register_forward_hook(_leave(mode)).remove)
        token = _ACTIVE.set(mode)
        stack.callback(_ACTIVE.reset, token)
        stack.enter_context(attention_backend("native"))  # others end in functions of their own
        if getattr(net, "_compiled_call_impl", None) is not None:
            stack.enter_context(torch.compiler.set_stance("force_eager"))  # compiled code calls no hooks
        stack.enter_context(mode)
        yield


def _enter(mode: _Tap, name: str) -> Callable[..., None]:
    """Return the hook that begins an attention; the network may run in other threads, which have no mode."""

    def hook(module: nn.Module, inputs: Any) -> None:
        if _ACTIVE.get() is mode:
            mode.enter(name)

    return hook


def _leave(mode: _Tap) -> Callable[..., None]:
    """Return the hook that ends an attention."""

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        if _ACTIVE.get() is mode:
            mode.leave()

    return hook


@contextlib.contextmanager
def replace_output(module: nn.Module, edit: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace the output of a module in this thread by ``edit`` of it."""
    thread = threading.get_ident()

    def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return edit(output) if threading.get_ident() == thread else output

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
