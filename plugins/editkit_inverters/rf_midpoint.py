"""Midpoint inversion of rectified flow, whose paths are lines ``alpha + sigma == 1`` (arXiv 2412.07517)."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from editkit import Denoiser, InversionRecord, Inverter, Noise, Point, SamplingPath, Stepper, from_x0, walk


class _MidpointStep:
    """Midpoint step that reaches its midpoint by the velocity of the last one (Deng et al., arXiv 2412.07517).

    Only the first step of a walk calls the network twice. The order stays 2, since the midpoint itself needs only
    first-order accuracy.
    """

    def __init__(self) -> None:
        self.velocity: Tensor | None = None

    def __call__(self, denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
        if self.velocity is None:
            self.velocity = _velocity(denoise, x, p)
        middle = Point((p.alpha + q.alpha) / 2, (p.sigma + q.sigma) / 2)
        self.velocity = _velocity(denoise, x + (middle.sigma - p.sigma) * self.velocity, middle)
        return x + (q.sigma - p.sigma) * self.velocity


def _velocity(denoise: Denoiser, x: Tensor, point: Point) -> Tensor:
    """Velocity (B, C, h, w) of the latents with respect to sigma; ``point.sigma`` must not be 0."""
    return from_x0("flow_prediction", denoise(x, point), x, point)


class RfMidpoint(Inverter):
    """The same second-order steps in the inversion and in the replay (arXiv 2412.07517)."""

    def invert(self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None) -> Iterator[Tensor]:
        return walk(_MidpointStep(), denoise, x0, path, noise=noise)

    def replay_stepper(self, record: InversionRecord, shares: Tensor) -> Stepper:
        return _MidpointStep()
