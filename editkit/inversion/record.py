"""Record of an inversion: trajectory, path and the extra tensors of a replay."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ..diffusion.denoiser import Condition
from ..diffusion.paths import SamplingPath
from ..errors import BadFile


class _Extras(dict[str, Tensor]):
    """Tensors by name; the error for a missing one says that the inversion is not complete."""

    def __missing__(self, name: str) -> Tensor:
        raise BadFile(f"the inversion has no tensor {name!r}: it is damaged, or of another inverter; make it again")


@dc.dataclass(frozen=True, eq=False)
class InversionRecord:
    """Latents and extra tensors recorded by the inversion of S sources."""

    trajectory: Tensor
    """(N + 1, S, C, h, w) from noise to clean."""
    path: SamplingPath
    """The N + 1 points of the trajectory, from noise to clean."""
    extras: Mapping[str, Tensor] = dc.field(default_factory=dict)
    """Further tensors of the inverter by name, (S, ...) each."""
    condition: Condition | None = None
    """Condition of the S sources; None if it is not known, as for an inversion from a file."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "extras", _Extras(self.extras))

    def to(self, device: torch.device, dtype: torch.dtype) -> InversionRecord:
        """Return the record with its tensors on a device and in a dtype, without the condition."""
        # Copied into memory that torch aligned, like a computed record: rounding may depend on the alignment.
        extras = {
            name: tensor.to(device, dtype if tensor.is_floating_point() else None, copy=True)
            for name, tensor in self.extras.items()
        }
        return InversionRecord(self.trajectory.to(device, dtype, copy=True), self.path, extras)


class RecordedEstimates(NamedTuple):
    """x0 estimates of latents of a trajectory, made during inversion under one condition without guidance."""

    condition: Condition
    """Condition of the S sources."""
    estimates: Tensor
    """Estimates (S, M, C, h, w) of M latents of the trajectory."""
    start: int
    """Index in the path of the first of the points they were evaluated at."""
    ahead: int = 0
    """Number of points that the latents are further down the path than the point they were evaluated at."""


def contiguous_copy(tensor: Tensor) -> Tensor:
    """Return a contiguous copy: the layout of a tensor from a file, which decides how sums are rounded."""
    return tensor.clone(memory_format=torch.contiguous_format)
