"""How an edit is judged whose true outcome is known, pictures taken as vectors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Judgement(NamedTuple):
    """How an output lies between its source and its true target."""

    progress: float
    """How much of the way from source to target was gone: 0 where nothing happened, 1 for the whole edit."""
    collateral: float
    """What was done beside that way, in lengths of it."""
    success: bool
    """Whether the output is nearer to the target than to the source, by half the squared distance between them."""


def judge(source: ArrayLike, target: ArrayLike, output: ArrayLike) -> Judgement:
    """Judge an output by its source and its true target, arrays of one shape and scale, (H, W, 3) mostly.

    With ``way = target - source`` and ``done = output - source``, progress is ``<done, way> / |way|**2`` and
    collateral ``|done - progress * way| / |way|``. Source and target must differ.
    """
    start = np.asarray(source, dtype=np.float64)
    way, done = np.asarray(target, dtype=np.float64) - start, np.asarray(output, dtype=np.float64) - start
    size = float(np.square(way).sum())
    progress = float((done * way).sum()) / size
    beside = float(np.sqrt(np.square(done - progress * way).sum() / size))
    return Judgement(progress, beside, success=bool(np.square(done - way).sum() < 0.5 * size))
