"""DDIM inversion whose replay is pinned to the recorded source (arXiv 2310.01506)."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from editkit import (
    Condition,
    Control,
    Denoiser,
    InversionRecord,
    Noise,
    PinnedSource,
    Point,
    RecordedEstimates,
    SamplingPath,
)

from .ddim import DdimInverter


class PinnedInverter(DdimInverter):
    """DDIM upward; the replay adds what its own steps miss (Ju et al., arXiv 2310.01506).

    There an edit is corrected nowhere; here it is where it has changed nothing, so that what it was not asked for comes
    back as the source does. The source is held to where it was seen on the way up, and so what the network said of it
    there is kept.
    """

    def invert(
        self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None
    ) -> Generator[Tensor, None, dict[str, Tensor]]:
        said: list[Tensor] = []

        def noted(x: Tensor, point: Point) -> Tensor:
            said.append(denoise(x, point))
            return said[-1]

        yield from super().invert(noted, x0, path, noise)
        return {"estimates": torch.stack(said[::-1], 1)}

    def recorded_estimates(
        self, climb: InversionRecord, conditions: Sequence[Condition]
    ) -> Sequence[RecordedEstimates]:
        assert climb.condition is not None  # only of a climb whose condition is known is this asked
        return [RecordedEstimates(climb.condition, climb.extras["estimates"], 1)]

    def controls(self, climb: InversionRecord, shares: Tensor) -> Sequence[Control]:
        return (PinnedSource(climb.trajectory, shares, climb.path),)
