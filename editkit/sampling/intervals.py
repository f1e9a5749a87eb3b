"""Steps of a path between two fractions of it."""

from __future__ import annotations

import itertools
import math

from ..diffusion.paths import SamplingPath
from ..diffusion.points import Point, RenoisePoint


def step_starts(path: SamplingPath) -> list[Point]:
    """Return the points that the steps of a path start from, the noisiest first; repeated steps count once.

    Step ``i`` of ``n`` begins at the fraction ``i / n`` of the path. A rising path has the steps of its replay.
    """
    falling = path if path[0].angle >= path[-1].angle else path[::-1]
    return list(dict.fromkeys(p for p, q in itertools.pairwise(falling) if not isinstance(q, RenoisePoint)))


def steps_between(steps: int, start: float, end: float, *, whole: bool = False) -> range:
    """Return the numbers of the steps that begin between two fractions, the second one excluded.

    With ``whole`` they must end there too.
    """
    # Rounded, because 0.28 of 25 steps is 7 and not the 7.000000000000001 of binary fractions.
    first, last = (round(fraction * steps, 9) for fraction in (start, end))
    return range(math.ceil(first), math.floor(last) if whole else math.ceil(last))


def interval(path: SamplingPath, start: float, end: float, *, whole: bool = False) -> tuple[float, float]:
    """Return the lowest and highest sigma of the steps between two fractions (0 to 1) of a path.

    The steps are those of :func:`steps_between`; without one the lowest is above the highest.
    """
    starts = step_starts(path)
    inside = steps_between(len(starts), start, end, whole=whole)
    if not inside:
        return math.inf, -math.inf
    # A solver may also evaluate the end of a step, so an interval that reaches an end of the path is open there.
    low = starts[inside[-1]].sigma if inside.stop < len(starts) else 0.0
    return low, starts[inside[0]].sigma if inside.start > 0 else math.inf


def no_step_between(subject: str, path: SamplingPath, start: float, end: float) -> str:
    """Return the warning that no step of a path lies between two fractions of it."""
    return (
        f"{subject} has no effect: none of {len(step_starts(path))} steps lies between the fractions {start:g} and "
        f"{end:g} of the path"
    )
