"""The latest x0 estimate of a loop, for previews."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor

from ..diffusion.denoiser import Condition, Network
from ..diffusion.paths import SamplingPath
from ..diffusion.points import Point, PointBatch
from .controls import Control


class LatestEstimate(Control):
    """Control that changes nothing and keeps the x0 estimate (B, C, h, w) that a solver got last along ``path``.

    As the last control of a walk it gets what guidance and the other controls made of the network's estimate.
    ``sources`` names the row of each row's source, or None.
    """

    def __init__(self, path: SamplingPath, sources: Sequence[int | None] = ()) -> None:
        self.path = path
        own = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], enumerate(sources))))
        self.sources = own if own < len(sources) else 0
        """Number of rows, the first ones, that are the sources of others."""
        self.x0: Tensor | None = None

    def predict(self, index: int, point: Point, x0: Tensor) -> Tensor:
        self.x0 = x0
        return x0

    def recording(self, network: Network, rows: int) -> Network:
        """Return a network whose estimates for the last ``rows`` rows are kept, which are those under the prompt."""

        def record(x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
            x0 = network(x, point, condition)
            self.x0 = x0[-rows:]
            return x0

        return record
