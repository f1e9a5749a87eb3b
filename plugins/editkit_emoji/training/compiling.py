"""Compile the UNet of a run in a process beside it, so that training begins at once in eager mode."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from multiprocessing.process import BaseProcess

import torch
from torch import Tensor, multiprocessing, nn

from editkit_emoji.training.network import TextToLatents
from editkit_emoji.training.precision import autocast


class CompiledLater:
    """Compiles the UNet of a network as soon as another process has filled the compiler's cache on disk."""

    def __init__(
        self, network: TextToLatents, inputs: Sequence[Tensor], device: str, backend: str = "inductor"
    ) -> None:
        """``inputs`` are those of one training step; all steps need the same shapes."""
        self.unet, self.backend = network.unet, backend
        on_cpu = copy.deepcopy(network).cpu(), [part.cpu() for part in inputs]
        process = multiprocessing.get_context("spawn").Process(target=_fill_cache, args=(*on_cpu, device, backend))
        process.start()
        self.process: BaseProcess | None = process

    def poll(self) -> None:
        """Compile if the cache is filled; a process that failed leaves the network as it is."""
        if self.process is None or self.process.exitcode is None:
            return
        if self.process.exitcode == 0:
            compile_unet(self.unet, self.backend)
        self.process = None


def compile_unet(unet: nn.Module, backend: str) -> None:
    unet.compile(dynamic=False, backend=backend)


def _fill_cache(network: TextToLatents, inputs: Sequence[Tensor], device: str, backend: str) -> None:
    """Make one training step without an update."""
    network.to(device).unet.to(memory_format=torch.channels_last)
    compile_unet(network.unet, backend)
    with autocast(device):
        predicted = network(*(part.to(device) for part in inputs))
    predicted.float().square().mean().backward()
