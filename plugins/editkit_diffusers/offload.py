"""Offload: the parts of a model, or the layers of its parts, are on the device while they are active."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from accelerate.utils import send_to_device
from diffusers.hooks import apply_group_offloading
from torch import Tensor, nn

_MAIN_MEMORY = torch.device("cpu")


class SequentialOffload(ModelHook):  # type: ignore[misc]  # accelerate has no types
    """Hook that moves a part and its inputs to ``device`` when it is called, and moves the previous part back.

    Weights stay in main memory too, where a pipeline may share them: to move them back takes no copy.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = self.execution_device = device  # a pipeline looks for the latter name
        self.on_device: nn.Module | None = None
        self._weights: list[tuple[nn.Module, str, nn.Parameter, Tensor]] = []

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        if self.on_device is not module:
            self.release()
            self._weights = [
                (owner, name, weight, weight.data)
                for owner in module.modules()
                for name, weight in owner._parameters.items()
                if weight is not None
            ]
            module.to(self.device)
            self.on_device = module
        return send_to_device(args, self.device), send_to_device(kwargs, self.device)

    def release(self) -> None:
        """Move the part on the device back to main memory."""
        if self.on_device is None:
            return
        for owner, name, weight, data in self._weights:
            weight.data = data
            owner._parameters[name] = weight
        self.on_device.to(_MAIN_MEMORY)  # its buffers
        self.on_device, self._weights = None, []


def offload_sequentially(parts: Iterable[nn.Module], device: torch.device) -> SequentialOffload:
    """Move each of several parts in main memory to ``device`` when it is called, one at a time."""
    offload = SequentialOffload(device)
    for part in parts:
        add_hook_to_module(part, offload)
    return offload


def offload_layers(parts: Iterable[nn.Module], device: torch.device) -> None:
    """Move each layer of several parts in main memory to ``device`` when it is called, and back after its call.

    On a GPU the next layer is moved while one is evaluated.
    """
    for part in parts:
        apply_group_offloading(part, device, _MAIN_MEMORY, "leaf_level", use_stream=device.type == "cuda")
