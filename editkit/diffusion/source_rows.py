"""Mark of latents whose first rows are those of a recorded trajectory: known without a comparison on the device."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

_NAME = "_editkit_source_rows"


class SourceRows(NamedTuple):
    """Trajectory (N + 1, S, C, h, w), the place in it of the first S rows of latents, and their version."""

    trajectory: Tensor
    place: int
    version: int


def mark_source_rows(latents: Tensor, trajectory: Tensor, index: int) -> Tensor:
    """Declare that the first rows of ``latents`` (B, C, h, w) are those at ``index`` of a trajectory, and return them.

    A replay then reuses what the inversion recorded for them. The mark holds until the latents are changed in place.
    """
    setattr(latents, _NAME, SourceRows(trajectory, index, version_of(latents)))
    return latents


def source_rows_of(latents: Tensor) -> SourceRows | None:
    """Return the mark of latents, None if they have none."""
    rows: SourceRows | None = getattr(latents, _NAME, None)
    return rows if rows is not None and rows.version == version_of(latents) else None


def version_of(tensor: Tensor) -> int:
    """Return the number of changes in place; tensors of inference mode do not count them."""
    return 0 if tensor.is_inference() else tensor._version
