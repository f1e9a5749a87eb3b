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
    """DDIM inversion; the replay corrects the error of its own steps (Ju et al., arXiv 2310.01506).

    Unlike the paper, which leaves the edited branch uncorrected, the correction is also applied where the edit still
    equals the source, so unedited regions are reconstructed exactly. The replay evaluates the source at the recorded
    latents, so the record stores the network's x0 estimates there for reuse.
    """

    def invert(
        self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None
    ) -> Generator[Tensor, None, dict[str, Tensor]]:
        estimates: list[Tensor] = []

        def recording(x: Tensor, point: Point) -> Tensor:
            estimates.append(denoise(x, point))
            return estimates[-1]

        yield from super().invert(recording, x0, path, noise)
        return {"estimates": torch.stack(estimates[::-1], 1)}

    def recorded_estimates(
        self, record: InversionRecord, conditions: Sequence[Condition]
    ) -> Sequence[RecordedEstimates]:
        assert record.condition is not None  # callers check it first
        return [RecordedEstimates(record.condition, record.extras["estimates"], 1)]

    def controls(self, record: InversionRecord, shares: Tensor) -> Sequence[Control]:
        return (PinnedSource(record.trajectory, shares, record.path),)
