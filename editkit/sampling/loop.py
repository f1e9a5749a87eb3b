"""The one loop: down a path it draws, up the reversed path it inverts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from torch import Tensor

from ..diffusion.denoiser import Denoiser, Noise
from ..diffusion.paths import SamplingPath
from ..diffusion.points import Point, RenoisePoint, eps_of, renoise
from .controls import Control


class Stepper(Protocol):
    """One step of a solver from point ``p`` to point ``q``.

    A stepper may keep a history: each walk has one of its own.
    """

    def __call__(self, denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor: ...


def walk(
    step: Stepper,
    denoise: Denoiser,
    x: Tensor,
    path: SamplingPath,
    *,
    noise: Noise | None = None,
    controls: Sequence[Control] = (),
) -> Iterator[Tensor]:
    """Yield the latents (B, C, h, w) after each step of ``path``.

    To a :class:`Raised` point fresh noise leads, and the network is not asked. Controls see every estimate and every
    result, in the order given. A walk that is not finished has simply not been asked for its next step.
    """
    for index, (p, q) in enumerate(itertools.pairwise(path)):
        drawn = noise_source(noise, controls, index)
        if isinstance(q, RenoisePoint):
            x = renoise(x, drawn(), p, q)
        else:
            x = step(with_controls(denoise, controls, index), x, p, q, drawn)
        for control in controls:
            x = control.after_step(index, x)
        yield x


def final_state(walked: Iterable[Tensor], start: Tensor) -> Tensor:
    """Run a walk to its end; ``start`` is the answer where the path has no step."""
    x = start
    for x in walked:  # noqa: B007
        pass
    return x


def with_controls(denoise: Denoiser, controls: Sequence[Control], index: int) -> Denoiser:
    for control in controls:
        denoise = control.guide(index, denoise)

    def estimate(x: Tensor, point: Point) -> Tensor:
        x0 = denoise(x, point)
        for control in controls:
            x0 = control.predict(index, point, x0)
        return x0

    return estimate


def noise_source(noise: Noise | None, controls: Sequence[Control], index: int) -> Noise:
    """The noise of a step: what a control recorded, else a fresh draw."""

    def draw() -> Tensor:
        for control in controls:
            recorded = control.noise(index)
            if recorded is not None:
                return recorded
        if noise is None:
            raise ValueError("this stepper draws noise, and neither the walk nor a control supplies any")
        return noise()

    return draw


def ddim_step(x: Tensor, x0: Tensor, p: Point, q: Point, fresh: float = 0.0) -> Tensor:
    """The deterministic step of DDIM (Song et al., arXiv 2010.02502, eq. 12), in either direction.

    Downward it may leave room for noise of the deviation ``fresh``, which is the caller's to add.
    """
    return q.alpha * x0 + math.sqrt(q.sigma**2 - fresh**2) * eps_of(x, x0, p)


def ddpm_noise_std(p: Point, q: Point) -> float:
    """The deviation of the noise that DDPM adds in a step down from ``p`` to ``q`` (ibid., eq. 16 at eta 1)."""
    kept = (p.alpha * q.sigma) / (q.alpha * p.sigma)
    return q.sigma * math.sqrt(max(0.0, 1 - kept**2))
