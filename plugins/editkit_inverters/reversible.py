"""Base of the inverters with algebraically invertible steps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from editkit import Control, InversionRecord, Inverter, PinnedSource


class Reversible(Inverter):
    """Base of EDICT and BELM: both directions are guided.

    The replay pins the source, which corrects rounding errors and a guidance scale other than the inversion's.
    """

    guided = True

    def controls(self, record: InversionRecord, shares: Tensor) -> Sequence[Control]:
        return (PinnedSource(record.trajectory, shares),)
