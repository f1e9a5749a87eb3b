"""Schedule of a pipeline: a curve whose steps are those of the pipeline's own loop."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Sequence
from typing import Any

import numpy as np

from editkit import Point, RectifiedFlow, Schedule, VariancePreserving

from .network_call import NetworkCall, Size


@dc.dataclass(frozen=True)
class PipelineSchedule:
    """Schedule with ``curve`` as its points, and with the steps of a pipeline's own loop for images of ``size``."""

    curve: Schedule
    call: NetworkCall
    reduction: int
    """Pixels along a side of one latent."""
    size: Size

    @property
    def train_steps(self) -> int:
        return self.curve.train_steps

    @property
    def first(self) -> float:
        return self.curve.first

    @property
    def last(self) -> float:
        return self.curve.last

    def point(self, timestep: float) -> Point:
        return self.curve.point(timestep)

    def timestep(self, point: Point) -> float:
        return self.curve.timestep(point)

    def for_shape(self, shape: Sequence[int]) -> PipelineSchedule:
        _, height, width = shape
        return dc.replace(self, size=(width * self.reduction, height * self.reduction))

    def shift_timesteps(self, timesteps: np.ndarray) -> np.ndarray:
        """Return the timesteps of the pipeline's own loop; those of another spacing are shifted as its own are."""
        even = np.linspace(self.last, self.first, len(timesteps))
        if np.allclose(timesteps, even):
            return self._own_timesteps(len(timesteps))
        every = self._own_timesteps(self.train_steps)
        unshifted = np.linspace(self.last, self.first, self.train_steps)
        shifted: np.ndarray = np.interp(timesteps, unshifted[::-1], every[::-1])
        return shifted

    def _own_timesteps(self, steps: int) -> np.ndarray:
        sigmas, timesteps = self.call.own_path(steps, self.size)
        own: np.ndarray = (timesteps if sigmas is None else self.train_steps * sigmas[:steps]).double().numpy()
        return own


def curve_of(scheduler: Any, *, is_flow: bool) -> Schedule:
    """Return the curve of points of a pipeline's scheduler."""
    if is_flow:
        return RectifiedFlow(scheduler.config.num_train_timesteps)
    return VariancePreserving(tuple(scheduler.alphas_cumprod.tolist()))
