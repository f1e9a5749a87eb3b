"""DDIM inversion with a corrected noise estimate (arXiv 2504.13109)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from torch import Tensor

from editkit import Denoiser, Inverter, Noise, SamplingPath, eps_of

from .ddim import ddim_transition


class DdimCorrected(Inverter):
    """Predict the noisier latent with the last noise estimate, evaluate the network there, and step with the new one.

    A replay evaluates the network at the noisier end of each step. The inversion does the same, which brings both
    trajectories together (Jiao et al., arXiv 2504.13109, algorithm 1).
    """

    def invert(self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None) -> Iterator[Tensor]:
        x = x0
        eps = eps_of(x, denoise(x, path[0]), path[0])
        for p, q in itertools.pairwise(path):
            predicted = ddim_transition(x, eps, p, q)
            eps = eps_of(predicted, denoise(predicted, q), q)
            x = ddim_transition(x, eps, p, q)
            yield x
