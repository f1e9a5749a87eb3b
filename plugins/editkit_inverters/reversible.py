"""Base of the inverters whose steps undo each other by algebra."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from editkit import Control, InversionRecord, Inverter, PinnedSource


class Reversible(Inverter):
    """Base of EDICT and BELM: both directions are guided.

    The replay pins the source, which corrects rounding and a guidance that differs from that of the inversion.
    """

    guided = True

    def controls(self, climb: InversionRecord, shares: Tensor) -> Sequence[Control]:
        return (PinnedSource(climb.trajectory, shares),)
