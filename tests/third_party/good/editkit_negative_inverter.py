"""Inverter of the third-party plugin, in a separate module because its base class imports torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from torch import Tensor

from editkit import Control, Denoiser, InversionRecord, Inverter, Noise, PinnedSource, SamplingPath, ddim_step


class Recorded(Inverter):
    """DDIM inversion; every latent of a replay is replaced by the recorded one."""

    def invert(self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None) -> Iterator[Tensor]:
        x = x0
        for p, q in itertools.pairwise(path):
            x = ddim_step(x, denoise(x, p), p, q)
            yield x

    def controls(self, record: InversionRecord, shares: Tensor) -> Sequence[Control]:
        return (PinnedSource(record.trajectory, shares),)
