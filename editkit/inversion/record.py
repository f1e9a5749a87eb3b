"""Record of an inversion: trajectory, path and what a replay needs beside them."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ..diffusion.denoiser import Condition
from ..diffusion.paths import SamplingPath


@dc.dataclass(frozen=True)
class InversionRecord:
    """What the inversion of S sources recorded."""

    trajectory: Tensor
    """(N + 1, S, C, h, w) from noise to clean."""
    path: SamplingPath
    """Its N + 1 points, which fall."""
    extras: Mapping[str, Tensor] = dc.field(default_factory=dict)
    """What else the inverter wants to remember, sources on the first axis."""
    condition: Condition | None = None
    """What the network was told of the sources, of S rows; None where that is not known, as in a file."""

    def to(self, device: torch.device, dtype: torch.dtype) -> InversionRecord:
        kept = {name: tensor.to(device, dtype) for name, tensor in self.extras.items()}
        return InversionRecord(self.trajectory.to(device, dtype), self.path, kept)


class RecordedEstimates(NamedTuple):
    """What the network said of some of a climb's latents, unguided."""

    condition: Condition
    """What it was told of the S sources."""
    estimates: Tensor
    """Its answers (S, M, C, h, w) about M latents of the trajectory."""
    start: int
    """The place in the trajectory of the first of these."""


def contiguous_copy(tensor: Tensor) -> Tensor:
    """A copy in the one memory layout that a file gives back: how sums are rounded depends on the layout."""
    return tensor.clone(memory_format=torch.contiguous_format)
