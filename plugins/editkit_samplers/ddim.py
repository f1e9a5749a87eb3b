"""Solvers that look at the present step only."""

from __future__ import annotations

import dataclasses as dc

from torch import Tensor

from editkit import Denoiser, Noise, Point, ddim_step, eps_of, fresh_deviation


@dc.dataclass(frozen=True)
class Ddim:
    """DDIM with the share ``eta`` of DDPM's noise (Song et al., arXiv 2010.02502, eq. 12 and 16)."""

    eta: float = 0.0

    def __call__(self, denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
        x0 = denoise(x, p)
        if self.eta == 0.0 or q.sigma == 0.0:
            return ddim_step(x, x0, p, q)
        fresh = self.eta * fresh_deviation(p, q)
        return ddim_step(x, x0, p, q, fresh) + fresh * noise()


def heun(denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
    """Heun's method on ``d(x / alpha) / d(sigma / alpha) = eps`` (Karras et al., arXiv 2206.00364, algorithm 1).

    Written with weights that stay finite at pure noise; a step to zero noise is a plain one.
    """
    x0 = denoise(x, p)
    predicted = ddim_step(x, x0, p, q)
    if q.sigma == 0.0:
        return predicted
    eps, later = eps_of(x, x0, p), eps_of(predicted, denoise(predicted, q), q)
    # x / alpha moves by the mean of both slopes: the difference to the first one is what the plain step lacks.
    stretch = q.sigma - p.sigma * q.alpha / p.alpha if p.alpha > 0.0 else 0.0
    return predicted + stretch * (later - eps) / 2


def consistency(denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
    """Multistep consistency sampling (Song et al., arXiv 2303.01469, algorithm 1; Luo et al., arXiv 2310.04378).

    Latent consistency models are trained through scalings of x and of the network's answer that make both agree at
    timestep 0. From timestep 19 on, the first that they know, those differ from 0 and 1 by less than 1e-5: they are
    left out.
    """
    x0 = denoise(x, p)
    return q.alpha * x0 + q.sigma * noise() if q.sigma > 0.0 else q.alpha * x0
