"""Implementations of a network's attention, by their names in diffusers.

Processors that dispatch their attention take any of them; the others call torch, whose kernel alone can be selected.
"""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from diffusers.models.attention_dispatch import attention_backend, dispatch_attention_fn
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from editkit import InvalidParameter, MissingCapability, quiet, reason_of

_KERNELS = {
    "native": None,
    "_native_math": SDPBackend.MATH,
    "_native_flash": SDPBackend.FLASH_ATTENTION,
    "_native_efficient": SDPBackend.EFFICIENT_ATTENTION,
    "_native_cudnn": SDPBackend.CUDNN_ATTENTION,
}
"""Kernels of torch's ``scaled_dot_product_attention`` by name; None for torch's own choice."""
_PROBE = (1, 16, 1, 64)
"""Shape (B, tokens, heads, d) of the attention that a backend is tried with."""


def select_attention(net: nn.Module, name: str, device: torch.device) -> None:
    """Let a network of diffusers compute its attention by a backend.

    Raises InvalidParameter if it does not work here, MissingCapability if the network cannot use it.
    """
    processors = [part.processor for part in net.modules() if hasattr(part, "get_processor")]
    dispatching = processors and all(hasattr(one, "_attention_backend") for one in processors)
    if not dispatching and name not in _KERNELS:
        raise MissingCapability(
            f"attention={name!r} needs a network whose attention can be replaced; {type(net).__name__} calls torch, so "
            f"that it can be one of {', '.join(_KERNELS)}"
        )
    _try_backend(name, device, next(net.parameters()).dtype)
    if dispatching:
        with quiet(), attention_backend("native"):  # the context restores the choice for other networks
            net.set_attention_backend(name)  # type: ignore[operator]
    elif (kernel := _KERNELS[name]) is not None:
        _SelectedKernel(kernel).attach(net)


def check_editable(name: str | None) -> None:
    """Raise MissingCapability if a backend computes attention where no control can act on it."""
    if name is not None and name not in _KERNELS:
        raise MissingCapability(
            f"attention={name!r} is computed where no control can act on it: load the model with attention='native', "
            "or leave the control out"
        )


@contextlib.contextmanager
def explained_refusal(name: str | None, net: nn.Module) -> Iterator[None]:
    """Raise MissingCapability for an attention that a selected backend does not compute, such as one with a mask."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        if name is None or not _is_refusal(error):
            raise
        raise MissingCapability(
            f"attention={name!r} does not compute that of {type(net).__name__} ({reason_of(error)}): load the model "
            "with attention='native'"
        ) from error


def _is_refusal(error: Exception) -> bool:
    """Return whether an exception is of diffusers' dispatch of attention, or of torch without a kernel for it."""
    modules = [frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(error.__traceback__)]
    dispatched = dispatch_attention_fn.__module__ in modules and not isinstance(error, torch.OutOfMemoryError)
    return dispatched or "No available kernel" in str(error)


def _try_backend(name: str, device: torch.device, dtype: torch.dtype) -> None:
    """Compute a small attention by a backend; raises InvalidParameter if it does not work here."""
    try:
        with quiet(), attention_backend("native"), torch.no_grad():
            query = torch.zeros(_PROBE, device=device, dtype=dtype)
            dispatch_attention_fn(query, query, query, backend=name)
    except Exception as error:  # the cause varies: a package, its version, the GPU, the dtype
        raise InvalidParameter(
            f"attention={name!r} cannot be used here for the device {device.type} in "
            f"{str(dtype).removeprefix('torch.')} ({reason_of(error)}): leave it out, or install what it needs"
        ) from error


class _SelectedKernel:
    """Hooks around the calls of a network that select a kernel of torch; calls of several threads do not mix."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.entered = threading.local()

    def attach(self, net: nn.Module) -> None:
        """Select the kernel in every call of a network."""
        net.register_forward_pre_hook(self.enter)
        net.register_forward_hook(self.leave, always_call=True)

    def enter(self, module: nn.Module, inputs: Any) -> None:
        """Begin a call."""
        context: AbstractContextManager[None] = sdpa_kernel(self.kernel)
        context.__enter__()
        self.entered.context = context

    def leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """End the call in progress."""
        self.entered.context.__exit__(None, None, None)
