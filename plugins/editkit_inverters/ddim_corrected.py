"""DDIM inversion with a corrected estimate, Uni-Inv (arXiv 2504.13109)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from torch import Tensor

from editkit import Denoiser, Inverter, Noise, Point, SamplingPath, eps_of, from_x0

from .ddim import ddim_transition


class DdimCorrected(Inverter):
    """Predict the noisier latent with the last estimate, evaluate the network there, and step with the new one.

    A replay evaluates the network at the noisier end of each step. The inversion does the same, which brings both
    trajectories together (Jiao et al., arXiv 2504.13109, algorithm 1). The estimate is the velocity on the lines of
    rectified flow, and the noise on other paths.
    """

    def invert(self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None) -> Iterator[Tensor]:
        is_flow = all(math.isclose(point.alpha + point.sigma, 1.0) for point in path)
        estimate, step = (_velocity_of, _euler) if is_flow else (eps_of, ddim_transition)
        x = x0
        direction = estimate(x, denoise(x, path[0]), path[0])
        for p, q in itertools.pairwise(path):
            predicted = step(x, direction, p, q)
            direction = estimate(predicted, denoise(predicted, q), q)
            x = step(x, direction, p, q)
            yield x


def _velocity_of(x: Tensor, x0: Tensor, point: Point) -> Tensor:
    return from_x0("flow_prediction", x0, x, point)


def _euler(x: Tensor, velocity: Tensor, p: Point, q: Point) -> Tensor:
    """Step from p to q along a velocity with respect to sigma."""
    return x + (q.sigma - p.sigma) * velocity
