"""Heun's method (Karras et al., arXiv 2206.00364)."""

from __future__ import annotations

from torch import Tensor

from editkit import Denoiser, Noise, Params, Point, Stepper, ddim_step, eps_of


def heun(params: Params) -> Stepper:
    """Return Heun's sampler, which has no parameters."""
    return heun_step


def heun_step(denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
    """Heun's method on ``d(x / alpha) / d(sigma / alpha) = eps`` (Karras et al., arXiv 2206.00364, algorithm 1).

    The weights stay finite at pure noise; a step to zero noise is a DDIM step.
    """
    x0 = denoise(x, p)
    predicted = ddim_step(x, x0, p, q)
    if q.sigma == 0.0:
        return predicted
    eps, next_eps = eps_of(x, x0, p), eps_of(predicted, denoise(predicted, q), q)
    # x / alpha moves by the mean of both slopes; the DDIM step has used the first one only.
    step = q.sigma - p.sigma * q.alpha / p.alpha if p.alpha > 0.0 else 0.0
    return predicted + step * (next_eps - eps) / 2
