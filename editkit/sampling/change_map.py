"""Change maps: the strength of an edit at each latent (Differential Diffusion)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..diffusion.paths import SamplingPath
from ..diffusion.points import Point, add_noise
from ..diffusion.source_rows import mark_source_rows, source_rows_of
from .controls import Control

HALF_LEVEL = 0.501 / 255
"""Tolerance for a mask value, such as one half, that was rounded to 8 bits."""


def remaining_shares(path: SamplingPath) -> dict[Point, float]:
    """Return the share of the path that remains at each of its points, from 1 at the noisiest to 0."""
    # A path with resampling visits points twice: the remaining share depends on the noise level, not on the index.
    falling = sorted(set(path), key=lambda point: -point.angle)
    last = max(len(falling) - 1, 1)  # the last step of an even grid may end where it starts
    return {point: 1 - rank / last for rank, point in enumerate(falling)}


class ChangeMap(Control):
    """Control that sets every latent to the source until its own part of the path (Levin & Fried, arXiv 2306.00950).

    ``change`` (1, 1, h, w) in [0, 1]: a latent of value c is free during the last c of the path, as in an edit of
    that strength; 0 is never free, 1 always. Subclasses define the noisy source at a point.
    """

    exclusive_over = frozenset({"the masked region"})

    def __init__(self, change: Tensor, path: SamplingPath) -> None:
        self.change = change
        self.path = path
        self.remaining = remaining_shares(path)

    def source(self, index: int, x: Tensor) -> Tensor:
        """Return the source at ``path[index]``, which broadcasts to ``x`` (B, C, h, w)."""
        raise NotImplementedError

    def after_step(self, index: int, x: Tensor) -> Tensor:
        protected = (self.change <= self.remaining[self.path[index + 1]] + HALF_LEVEL) & (self.change < 1)
        return torch.where(protected, self.source(index + 1, x), x)


class NoisedSourceChangeMap(ChangeMap):
    """Change map whose source is noised at every step, always with the same noise."""

    def __init__(self, change: Tensor, path: SamplingPath, latents: Tensor, noise: Tensor) -> None:
        super().__init__(change, path)
        self.latents, self.noise_of_source = latents, noise

    def source(self, index: int, x: Tensor) -> Tensor:
        # Protected latents end without noise even if the path ends above sigma 0.
        is_last = index == len(self.path) - 1
        return self.latents if is_last else add_noise(self.latents, self.noise_of_source, self.path[index])


class SourceBranchChangeMap(ChangeMap):
    """Change map whose sources are the first S rows of the batch; ``shares`` (B, S) weights them for each row."""

    def __init__(self, change: Tensor, path: SamplingPath, shares: Tensor) -> None:
        super().__init__(change, path)
        self.shares = shares

    def after_step(self, index: int, x: Tensor) -> Tensor:
        # A source is all of its own mix, and stays where it is.
        changed, rows = super().after_step(index, x), source_rows_of(x)
        return changed if rows is None else mark_source_rows(changed, rows.trajectory, rows.place)

    def source(self, index: int, x: Tensor) -> Tensor:
        sources = self.shares.shape[1]
        return (self.shares @ x[:sources].flatten(1)).view_as(x)


def own_change(controls: Sequence[Control]) -> Tensor | None:
    """Return the change map (1, 1, h, w) of the last control that has another one than the mask; None if none has."""
    maps = [control for control in controls if isinstance(control, ChangeMap)]
    changes = [one.change for one in maps if not isinstance(one, NoisedSourceChangeMap)]
    return changes[-1] if changes else None
