"""DDIM inversion whose replay is pinned to the recorded source (arXiv 2310.01506)."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from editkit import Climb, Condition, Control, Denoiser, Noise, Path, PinnedSource, Point, Said

from .ddim import DdimInverter


class PinnedInverter(DdimInverter):
    """DDIM upward; the replay adds what its own steps miss (Ju et al., arXiv 2310.01506).

    There an edit is corrected nowhere; here it is where it has changed nothing, so that what it was not asked for comes
    back as the source does. The source is held to where it was seen on the way up, and so what the network said of it
    there is kept.
    """

    def climb(
        self, denoise: Denoiser, x0: Tensor, path: Path, noise: Noise | None = None
    ) -> Generator[Tensor, None, dict[str, Tensor]]:
        said: list[Tensor] = []

        def noted(x: Tensor, point: Point) -> Tensor:
            said.append(denoise(x, point))
            return said[-1]

        yield from super().climb(noted, x0, path, noise)
        return {"estimates": torch.stack(said[::-1], 1)}

    def said(self, climb: Climb, conditions: Sequence[Condition]) -> Sequence[Said]:
        assert climb.condition is not None  # only of a climb whose condition is known is this asked
        return [Said(climb.condition, climb.kept["estimates"], 1)]

    def controls(self, climb: Climb, shares: Tensor) -> Sequence[Control]:
        return (PinnedSource(climb.trajectory, shares, climb.path),)
