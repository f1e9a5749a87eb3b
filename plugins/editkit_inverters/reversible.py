"""Base of the inverters with algebraically invertible steps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from editkit import Control, InversionRecord, Inverter, PinnedSource, Point

ALPHA_FLOOR = 0.1
"""Share of sigma added to alpha, so that quotients by it stay finite at pure noise."""

PAPER_STEPS = 50
"""Number of steps of the paths that the papers of EDICT and Rex state the weight of a mix for."""


class Reversible(Inverter):
    """Base of EDICT, BELM and Rex: both directions are guided.

    The replay pins the source, which corrects rounding errors and a guidance scale other than the inversion's.
    """

    guided = True

    def controls(self, record: InversionRecord, shares: Tensor) -> Sequence[Control]:
        return (PinnedSource(record.trajectory, shares),)


def finite_scale(point: Point) -> float:
    """Return ``alpha + 0.1 sigma``, which takes the place of alpha in the variables of BELM and Rex."""
    return point.alpha + ALPHA_FLOOR * point.sigma
