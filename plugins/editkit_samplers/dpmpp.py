"""Exponential integrators in lambda = log(alpha / sigma), which extrapolate the x0 estimate from earlier steps.

With x0 as a function of lambda, ``x_q = (sigma_q / sigma_p) x_p + sigma_q * integral of exp(lambda) * x0``
from p to q is exact (Lu et al., arXiv 2211.01095, eq. 8); the solvers differ in how they extrapolate x0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from editkit import Denoiser, Noise, Point


class DpmSolver2M:
    """DPM-Solver++ (2M): linear extrapolation from the last two estimates (arXiv 2211.01095, algorithm 2)."""

    def __init__(self) -> None:
        self.previous: tuple[Tensor, Point] | None = None

    def __call__(self, denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
        x0 = denoise(x, p)
        x0_mid = self.extrapolate(x0, p, q)
        self.previous = (x0, p)
        return (q.sigma / p.sigma) * x + _one_minus_decay(p, q) * x0_mid

    def extrapolate(self, x0: Tensor, p: Point, q: Point) -> Tensor:
        """X0 estimate (B, C, h, w) at the midpoint of the step, in either direction.

        Returns ``x0`` itself in the first step, in a step to or from an infinite lambda, and after the path has turned,
        since the previous estimate then lies on the same side as the step.
        """
        if self.previous is None:
            return x0
        older, o = self.previous
        last_h, h = p.log_snr_half - o.log_snr_half, q.log_snr_half - p.log_snr_half
        if not 0.0 < last_h * h < math.inf:
            return x0
        return x0 + (x0 - older) * h / (2 * last_h)


class DpmSolver2MSde(DpmSolver2M):
    """SDE-DPM-Solver++ (2M): the same extrapolation, with fresh noise at every step (ibid., appendix)."""

    def __call__(self, denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
        x0 = denoise(x, p)
        x0_mid = self.extrapolate(x0, p, q)
        self.previous = (x0, p)
        if q.sigma == 0.0:
            return q.alpha * x0_mid
        decay = (p.alpha * q.sigma) / (p.sigma * q.alpha)  # exp(-h)
        mean = (q.sigma / p.sigma) * decay * x + q.alpha * (1 - decay**2) * x0_mid
        return mean + q.sigma * math.sqrt(1 - decay**2) * noise()


class DpmSolver3M:
    """DPM-Solver++ (3M): a parabola through the last three estimates, integrated exactly (arXiv 2211.01095).

    The first step calls the network twice, since a first-order start would lower the order of the whole path.
    """

    def __init__(self) -> None:
        self.nodes: list[tuple[float, Tensor]] = []

    def __call__(self, denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
        x0 = denoise(x, p)
        start, end = p.log_snr_half, q.log_snr_half
        if math.isinf(end) or math.isinf(start):
            return (q.sigma / p.sigma) * x + _one_minus_decay(p, q) * x0
        # After a renoising step, estimates at a larger lambda than this point's are dropped.
        self.nodes = [(start, x0), *(node for node in self.nodes[:2] if node[0] < start)]
        nodes = self.nodes
        if len(nodes) == 1:
            predicted = (q.sigma / p.sigma) * x + _one_minus_decay(p, q) * x0
            nodes = [*nodes, (end, denoise(predicted, q))]
        weights = _exponential_weights([node for node, _ in nodes], start, end)
        x0_mid = sum(weight * estimate for weight, (_, estimate) in zip(weights, nodes, strict=True))
        return (q.sigma / p.sigma) * x + q.alpha * x0_mid


def _one_minus_decay(p: Point, q: Point) -> float:
    """``alpha_q * (1 - exp(-h))`` with h the step in lambda, finite also at alpha 0 and at sigma 0."""
    return q.alpha - q.sigma * p.alpha / p.sigma


def _exponential_weights(nodes: list[float], start: float, end: float) -> list[float]:
    """Weights of the nodes that integrate ``exp(lambda - end) * x0(lambda)`` from start to end for their parabola."""
    h = end - start
    # Moments of u**k * exp(u - h) over 0..h, by parts; a series for short steps, where the recursion cancels.
    moments = [-math.expm1(-h)]
    for k in range(1, len(nodes)):
        moments.append(h**k - k * moments[-1] if h > 0.5 else _series_moment(k, h))
    powers = torch.tensor([[(node - start) ** k for node in nodes] for k in range(len(nodes))], dtype=torch.float64)
    return torch.linalg.solve(powers, torch.tensor(moments, dtype=torch.float64)).tolist()  # type: ignore[no-any-return]


def _series_moment(k: int, h: float) -> float:
    """Integral of ``u**k * exp(u - h)`` over 0..h by its power series, for small h."""
    return math.fsum((-1.0) ** j * h ** (k + 1 + j) * math.factorial(k) / math.factorial(k + 1 + j) for j in range(20))
