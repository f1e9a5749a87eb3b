"""Sequential offload: one part of a model at a time is on the device, the others are in main memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from accelerate.utils import send_to_device
from torch import nn

_MAIN_MEMORY = torch.device("cpu")


class SequentialOffload(ModelHook):  # type: ignore[misc]  # accelerate has no types
    """Hook that moves a part and its inputs to ``device`` when it is called, and moves the previous part back."""

    def __init__(self, device: torch.device) -> None:
        self.execution_device = device  # the name by which diffusers finds it
        self.on_device: nn.Module | None = None

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        if self.on_device is not module:
            if self.on_device is not None:
                self.on_device.to(_MAIN_MEMORY)
            module.to(self.execution_device)
            self.on_device = module
        return send_to_device(args, self.execution_device), send_to_device(kwargs, self.execution_device)


def offload_sequentially(parts: Iterable[nn.Module], device: torch.device) -> SequentialOffload:
    """Move each of several parts in main memory to ``device`` when it is called, one at a time."""
    offload = SequentialOffload(device)
    for part in parts:
        add_hook_to_module(part, offload)
    return offload
