"""Virtual inversion (Xu et al., arXiv 2312.04965, section 3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from editkit import Climb, Control, Denoiser, Inverter, Noise, Path, PinnedSource, add_noise


class Virtual(Inverter):
    """The picture with fresh noise at every point, which the source branch is held to on the way back.

    Drawn by consistency sampling the noise of both branches is then the same, and the estimate of an edited row is the
    network's, plus what its estimate of the source misses the picture by.
    """

    def climb(self, denoise: Denoiser, x0: Tensor, path: Path, noise: Noise | None = None) -> Iterator[Tensor]:
        if noise is None:
            raise ValueError("virtual inversion draws noise, and none is supplied")
        for point in path[1:]:
            yield add_noise(x0, noise(), point)

    def controls(self, climb: Climb, shares: Tensor) -> Sequence[Control]:
        return (PinnedSource(climb.trajectory, shares),)
