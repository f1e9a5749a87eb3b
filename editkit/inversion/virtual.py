"""Virtual inversion: the image in fresh noise at every point, without a network call (Xu et al., arXiv 2312.04965)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..diffusion.denoiser import Denoiser, Noise
from ..diffusion.paths import SamplingPath
from ..diffusion.points import add_noise
from ..sampling.controls import Control, PinnedSource
from .inverter import Inverter
from .record import InversionRecord


class VirtualInversion(Inverter):
    """Inverter whose trajectory is each source in independent noise at every point.

    A replay keeps the source branch on that trajectory; an edited row moves by the difference of its estimate and the
    source's in the same noise.
    """

    def invert(self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None) -> Iterator[Tensor]:
        if noise is None:
            raise ValueError("virtual inversion draws noise, and none is supplied")
        for point in path[1:]:
            yield add_noise(x0, torch.cat([noise() for _ in x0]), point)

    def controls(self, record: InversionRecord, shares: Tensor) -> Sequence[Control]:
        return (PinnedSource(record.trajectory, shares),)
