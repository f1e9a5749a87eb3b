"""Numbers of the kinds of condition maps in ControlNets of several kinds (Union)."""

from __future__ import annotations

from collections.abc import Sequence

from editkit import InvalidParameter

UNET_MODES = ("pose", "depth", "scribble", "edge", "normal", "segment", "tile", "repaint")
"""Kinds in the order of ControlNet++ for SDXL (xinsir's model card)."""
FLUX_MODES = ("edge", "tile", "depth", "blur", "pose", "grey", "low-quality")
"""Kinds in the order of the Union models for FLUX.1 (model cards of InstantX and Shakker Labs)."""


def number_of(mode: str | None, modes: Sequence[str], count: int) -> int:
    """Return the number of a kind of map in a ControlNet of ``count`` kinds, the first of ``modes``.

    Raises InvalidParameter, naming the kinds that it has, for another one.
    """
    allowed = list(modes[:count])
    if mode not in allowed:
        raise InvalidParameter(
            f"the ControlNet is one of several kinds, and {mode!r} is none of them: give what the map shows as "
            f"control_mode, one of {', '.join(allowed)}"
        )
    return allowed.index(mode)
