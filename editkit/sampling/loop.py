"""The loop of sampling and inversion: steps of a solver along a path or its reverse."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from torch import Tensor

from ..diffusion.denoiser import Denoiser, Noise
from ..diffusion.paths import SamplingPath
from ..diffusion.points import Point, RenoisePoint, eps_of, renoise
from ..diffusion.source_rows import mark_source_rows, source_rows_of
from ..errors import PluginFailure
from .controls import Control


class Stepper(Protocol):
    """One step of a solver from point ``p`` to point ``q``: latents (B, C, h, w) to latents of the same shape.

    A stepper may keep earlier estimates; each walk gets a new one.
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

    A :class:`RenoisePoint` is reached by fresh noise without a network call. Controls may change the first latents,
    every estimate and every result, in the given order. The walk is a generator: whoever stops iterating cancels it.
    Raises PluginFailure for a step that returns anything but latents like those before it.
    """
    x = _start_latents(x, controls)
    for index, (p, q) in enumerate(itertools.pairwise(path)):
        step_noise = noise_source(noise, controls, index)
        if isinstance(q, RenoisePoint):
            x = renoise(x, step_noise(), p, q)
        else:
            x = check_state(step(_with_controls(denoise, controls, index), x, p, q, step_noise), x, step)
        for control in controls:
            x = control.after_step(index, x)
        yield x


def _start_latents(x: Tensor, controls: Sequence[Control]) -> Tensor:
    """Return the latents that controls start a walk with."""
    for control in controls:
        rows = source_rows_of(x)
        x = control.start(x)
        if rows is not None:
            x = mark_source_rows(x, rows.trajectory, rows.place)
    return x


def check_state(state: Any, before: Tensor, made_by: object) -> Tensor:
    """Return the latents that a stepper or an inverter made; raises PluginFailure unless they are like those before."""
    if isinstance(state, Tensor) and (state.shape, state.dtype) == (before.shape, before.dtype):
        return state
    maker = made_by if hasattr(made_by, "__qualname__") else type(made_by)
    raise PluginFailure(f"{maker.__module__}.{maker.__qualname__} made {_described(state)}, not {_described(before)}")


def _described(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return f"latents of shape {' x '.join(map(str, value.shape))} in {str(value.dtype).removeprefix('torch.')}"


def final_state(steps: Iterable[Tensor], start: Tensor) -> Tensor:
    """Return the last latents of a walk, or ``start`` if the path has no step."""
    x = start
    for x in steps:  # noqa: B007
        pass
    return x


def _with_controls(denoise: Denoiser, controls: Sequence[Control], index: int) -> Denoiser:
    """Return the denoiser of a step with the changes of all controls."""
    for control in controls:
        denoise = control.guide(index, denoise)

    def estimate(x: Tensor, point: Point) -> Tensor:
        x0 = denoise(x, point)
        for control in controls:
            x0 = control.predict(index, point, x0)
        return x0

    return estimate


def noise_source(noise: Noise | None, controls: Sequence[Control], index: int) -> Noise:
    """Return the noise source of a step: the noise that a control recorded, else fresh noise."""

    def draw() -> Tensor:
        for control in controls:
            recorded = control.noise(index)
            if recorded is not None:
                return recorded
        if noise is None:
            raise ValueError("this stepper draws noise, and neither the walk nor a control supplies any")
        return noise()

    return draw


def ddim_step(x: Tensor, x0: Tensor, p: Point, q: Point, noise_std: float = 0.0) -> Tensor:
    """Return latents at ``q`` by the step of DDIM (Song et al., arXiv 2010.02502, eq. 12), in either direction.

    ``noise_std`` is the standard deviation of the noise that the caller adds to the result.
    """
    return q.alpha * x0 + math.sqrt(q.sigma**2 - noise_std**2) * eps_of(x, x0, p)


def ddpm_noise_std(p: Point, q: Point) -> float:
    """Return the standard deviation of the noise in DDPM's step from ``p`` to ``q`` (ibid., eq. 16 at eta 1)."""
    ratio = (p.alpha * q.sigma) / (q.alpha * p.sigma)
    return q.sigma * math.sqrt(max(0.0, 1 - ratio**2))
