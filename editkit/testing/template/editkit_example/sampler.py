"""The sampler."""

from __future__ import annotations

from torch import Tensor

from editkit import Denoiser, Noise, Point


class FirstOrder:
    """Euler's method: estimate x0 at ``p``, keep its noise, and move both to ``q`` (arXiv 2010.02502, eq. 12)."""

    def __call__(self, denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
        x0 = denoise(x, p)
        eps = (x - p.alpha * x0) / p.sigma
        return q.alpha * x0 + q.sigma * eps
