"""The stranger's inverter, in a module of its own, since its base comes with torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from torch import Tensor

from editkit import Control, Denoiser, InversionRecord, Inverter, Noise, PinnedSource, SamplingPath, ddim_step


class Recorded(Inverter):
    """DDIM upward, and every latent set to the recorded one on the way back."""

    def invert(self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None) -> Iterator[Tensor]:
        x = x0
        for p, q in itertools.pairwise(path):
            x = ddim_step(x, denoise(x, p), p, q)
            yield x

    def controls(self, climb: InversionRecord, shares: Tensor) -> Sequence[Control]:
        return (PinnedSource(climb.trajectory, shares),)
