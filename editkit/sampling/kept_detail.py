"""Share of the source's detail that sampling keeps: what the noise at its start left."""

from __future__ import annotations

import dataclasses as dc

import numpy as np
import torch
from torch import Tensor

from ..diffusion.paths import SamplingPath
from ..diffusion.points import CLEAN, Point, PointBatch, detail_share
from .change_map import remaining_shares


def kept_detail(change: Tensor | None, path: SamplingPath, *, from_noise: bool) -> Tensor:
    """Return the share of the source's detail that is kept under a change map, a tensor like ``change`` in [0, 1].

    Without a map, which is 1 everywhere then, it has the shape (1, 1, 1, 1). A value c starts from the noise that is
    left when the share c of the path remains, and keeps :func:`detail_share` of that point, linear in between.
    ``from_noise`` declares that the whole path starts from noise alone: 1 then keeps nothing.
    """
    remaining = remaining_shares(path)
    rising = sorted(remaining, key=lambda point: remaining[point])
    shares = [detail_share(point) for point in rising]
    if from_noise:
        shares[-1] = 0.0
    values = np.ones((1, 1, 1, 1)) if change is None else change.float().cpu().numpy()
    kept = np.where(values > 0, np.interp(values, [remaining[point] for point in rising], shares), 1.0)
    return torch.from_numpy(kept.astype(np.float32))


@dc.dataclass
class KeptDetail:
    """Record of where the sampling of one edit started, for operations that do not declare what they keep."""

    noisiest: Point = CLEAN
    """Noisiest point at which the network was evaluated."""
    by_start: Tensor | float | None = None
    """Share left at the noisiest start, a number or (1, 1, H, W); None before any."""

    def record_evaluation(self, point: Point | PointBatch, rows: int) -> None:
        """Record an evaluation of the network on ``rows`` rows."""
        self.noisiest = max(self.noisiest, *point.rows(rows), key=lambda point: point.angle)

    def record_start(self, kept: Tensor | float) -> None:
        """Record a start that keeps a share of the detail; of several the smallest counts in each pixel."""
        if isinstance(self.by_start, Tensor) and isinstance(kept, Tensor):
            self.by_start = torch.minimum(self.by_start, kept)
        elif self.by_start is None or isinstance(kept, Tensor):
            self.by_start = kept

    @property
    def share(self) -> Tensor | float:
        """Share in [0, 1]; an operation with a loop of its own keeps what the noisiest point left."""
        return detail_share(self.noisiest) if self.by_start is None else self.by_start
