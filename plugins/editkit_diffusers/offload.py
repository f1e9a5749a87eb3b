"""Sequential offload: one part of a model at a time is on the device, the others wait in main memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from accelerate.utils import send_to_device
from torch import nn

_MAIN_MEMORY = torch.device("cpu")


class SequentialOffload(ModelHook):  # type: ignore[misc]  # its library has no types
    """Hook that moves a part and its inputs to ``device`` when it is called, and moves the previous part back."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.present: nn.Module | None = None

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        if self.present is not module:
            if self.present is not None:
                self.present.to(_MAIN_MEMORY)
            module.to(self.device)
            self.present = module
        return send_to_device(args, self.device), send_to_device(kwargs, self.device)


def take_turns(parts: Iterable[nn.Module], device: torch.device) -> SequentialOffload:
    """Let parts, which are in main memory, be on ``device`` one at a time: whichever is asked."""
    offload = SequentialOffload(device)
    for part in parts:
        add_hook_to_module(part, offload)
    return offload
