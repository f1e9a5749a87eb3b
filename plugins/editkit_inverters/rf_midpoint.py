"""Midpoint inversion of rectified flow, whose paths are lines ``alpha + sigma == 1`` (arXiv 2412.07517)."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from editkit import Denoiser, InversionRecord, Inverter, Noise, Point, SamplingPath, Stepper, from_x0, walk


class _MidpointStep:
    """A midpoint step that reaches its middle by the velocity of the last middle (Deng et al., arXiv 2412.07517).

    Only the first step of a walk asks the network twice; the order stays 2, since a middle may be off by the second
    order of a step.
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
    """What the network says latents (B, C, h, w) move by as sigma grows; ``point.sigma`` must not be 0."""
    return from_x0("flow_prediction", denoise(x, point), x, point)


class RfMidpoint(Inverter):
    """The same second-order steps up and down."""

    def invert(self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None) -> Iterator[Tensor]:
        return walk(_MidpointStep(), denoise, x0, path, noise=noise)

    def replay_stepper(self, climb: InversionRecord, shares: Tensor) -> Stepper:
        return _MidpointStep()
