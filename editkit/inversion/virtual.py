"""Virtual inversion: no climb at all, the picture in fresh noise at every point (Xu et al., arXiv 2312.04965)."""

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
    """Each source in noise of its own at every point of the path; a replay holds the source branch to that.

    What an edited row is moved by is the network's answer for it, less its answer for the source in the same noise.
    """

    def invert(self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None) -> Iterator[Tensor]:
        if noise is None:
            raise ValueError("virtual inversion draws noise, and none is supplied")
        for point in path[1:]:
            yield add_noise(x0, torch.cat([noise() for _ in x0]), point)

    def controls(self, climb: InversionRecord, shares: Tensor) -> Sequence[Control]:
        return (PinnedSource(climb.trajectory, shares),)
