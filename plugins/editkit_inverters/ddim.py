"""DDIM inversion."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from torch import Tensor

from editkit import Denoiser, Inverter, Noise, Point, SamplingPath, ddim_step


class DdimInverter(Inverter):
    """DDIM steps from clean to noise, with the network evaluated at the start of each step (arXiv 2010.02502)."""

    def invert(self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None) -> Iterator[Tensor]:
        x = x0
        for p, q in itertools.pairwise(path):
            x = ddim_step(x, denoise(x, p), p, q)
            yield x


def ddim_transition(x: Tensor, eps: Tensor, p: Point, q: Point) -> Tensor:
    """Step from p to q along the noise ``eps``."""
    return (q.alpha / p.alpha) * (x - p.sigma * eps) + q.sigma * eps
