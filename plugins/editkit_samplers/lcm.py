"""Multistep consistency sampling of latent consistency models (arXiv 2310.04378)."""

from __future__ import annotations

from torch import Tensor

from editkit import Denoiser, Noise, Params, Point, Stepper


def lcm(params: Params) -> Stepper:
    """Return the sampler of consistency models, which has no parameters."""
    return lcm_step


def lcm_step(denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
    """Multistep consistency sampling (Song et al., arXiv 2303.01469, algorithm 1; Luo et al., arXiv 2310.04378).

    Unlike the papers, the boundary scalings c_skip and c_out, which make a network return its input at timestep 0, are
    left out: from timestep 19 on, the first that the models are trained for, they differ from 0 and 1 by less than
    1e-5.
    """
    x0 = denoise(x, p)
    return q.alpha * x0 + q.sigma * noise() if q.sigma > 0.0 else q.alpha * x0
