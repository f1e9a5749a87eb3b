"""Exponential integrators in lambda = log(alpha / sigma), which extrapolate the clean estimate from earlier steps.

With the estimate x0 as a function of lambda, ``x_q = (sigma_q / sigma_p) x_p + sigma_q * integral of exp(lambda) * x0``
from p to q is exact (Lu et al., arXiv 2211.01095, eq. 8); the solvers differ in how they continue x0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from editkit import Denoiser, Noise, Point


class DpmSolver2M:
    """DPM-Solver++ (2M): a straight line through the last two estimates (ibid., algorithm 2)."""

    def __init__(self) -> None:
        self.before: tuple[Tensor, Point] | None = None

    def __call__(self, denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
        x0 = denoise(x, p)
        ahead = self.extrapolated(x0, p, q)
        self.before = (x0, p)
        return (q.sigma / p.sigma) * x + _one_minus_decay(p, q) * ahead

    def extrapolated(self, x0: Tensor, p: Point, q: Point) -> Tensor:
        """The estimate in the middle of the step, which may lead down or up.

        The first step goes without, and so do one to or from an infinite lambda and one after a path has turned, where
        what was estimated lies behind.
        """
        if self.before is None:
            return x0
        older, o = self.before
        came, goes = p.log_snr_half - o.log_snr_half, q.log_snr_half - p.log_snr_half
        if not 0.0 < came * goes < math.inf:
            return x0
        return x0 + (x0 - older) * goes / (2 * came)


class DpmSolver2MSde(DpmSolver2M):
    """SDE-DPM-Solver++ (2M): the same line, with fresh noise at every step (ibid., appendix)."""

    def __call__(self, denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
        x0 = denoise(x, p)
        ahead = self.extrapolated(x0, p, q)
        self.before = (x0, p)
        if q.sigma == 0.0:
            return q.alpha * ahead
        decay = (p.alpha * q.sigma) / (p.sigma * q.alpha)  # exp(-h)
        mean = (q.sigma / p.sigma) * decay * x + q.alpha * (1 - decay**2) * ahead
        return mean + q.sigma * math.sqrt(1 - decay**2) * noise()


class DpmSolver3M:
    """DPM-Solver++ (3M): a parabola through the last three estimates, integrated exactly.

    The first step asks the network twice, since a first-order start would cost the order.
    """

    def __init__(self) -> None:
        self.nodes: list[tuple[float, Tensor]] = []

    def __call__(self, denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
        x0 = denoise(x, p)
        start, end = p.log_snr_half, q.log_snr_half
        if math.isinf(end) or math.isinf(start):
            return (q.sigma / p.sigma) * x + _one_minus_decay(p, q) * x0
        # Where the path went back up, what was estimated further down lies behind.
        self.nodes = [(start, x0), *(node for node in self.nodes[:2] if node[0] < start)]
        nodes = self.nodes
        if len(nodes) == 1:
            plain = (q.sigma / p.sigma) * x + _one_minus_decay(p, q) * x0
            nodes = [*nodes, (end, denoise(plain, q))]
        weights = _exponential_weights([node for node, _ in nodes], start, end)
        ahead = sum(weight * estimate for weight, (_, estimate) in zip(weights, nodes, strict=True))
        return (q.sigma / p.sigma) * x + q.alpha * ahead


def _one_minus_decay(p: Point, q: Point) -> float:
    """``alpha_q * (1 - exp(-h))`` with h the step in lambda, finite also at pure noise and at none."""
    return q.alpha - q.sigma * p.alpha / p.sigma


def _exponential_weights(nodes: list[float], start: float, end: float) -> list[float]:
    """Weights that integrate ``exp(lambda - end) * x0(lambda)`` from start to end for the parabola through nodes."""
    h = end - start
    # Moments of u**k * exp(u - h) over 0..h, by parts; for short steps the recursion cancels, so it is a series there.
    moments = [-math.expm1(-h)]
    for k in range(1, len(nodes)):
        moments.append(h**k - k * moments[-1] if h > 0.5 else _series_moment(k, h))
    powers = torch.tensor([[(node - start) ** k for node in nodes] for k in range(len(nodes))], dtype=torch.float64)
    return torch.linalg.solve(powers, torch.tensor(moments, dtype=torch.float64)).tolist()  # type: ignore[no-any-return]


def _series_moment(k: int, h: float) -> float:
    return math.fsum((-1.0) ** j * h ** (k + 1 + j) * math.factorial(k) / math.factorial(k + 1 + j) for j in range(20))
