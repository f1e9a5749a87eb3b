"""Attention of the image to the words that two prompts do not share."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...diffusion.attention import AttentionInputs, CallRow, Word, current_rows

_SMALLEST = 8
"""Shortest side of a grid of tokens that is not coarse."""
_SIGMA = 0.5
"""Deviation in tokens of the smoothing of LEDITS++ (arXiv 2311.16711, its code: a kernel of 3 by 3)."""

GridSize = tuple[int, int]


def changed_places(before: Sequence[Word], after: Sequence[Word]) -> tuple[list[int], list[int]]:
    """Return the places of the words of each prompt that the other one does not have there."""
    matcher = difflib.SequenceMatcher(None, [one.token for one in before], [one.token for one in after], autojunk=False)
    gone, new = [], []
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind != "equal":
            gone += [word.place for word in before[a:b]]
            new += [word.place for word in after[c:d]]
    return gone, new


class WordMaps:
    """Attention from the places of an image to some words of each row, the mean over heads, sites of a grid and calls.

    ``places`` names the words of each row, by default a row of the latents; ``row_of`` may number the rows of a call in
    another way, with None for a row that is left out. Attention is a share of that to all words of the prompt, in
    cross-attention and in joint attention.
    """

    def __init__(
        self, places: Sequence[Sequence[int]], row_of: Callable[[CallRow], int | None] = lambda row: row.row
    ) -> None:
        self.places, self.row_of = places, row_of
        self.sums: dict[GridSize, Tensor] = {}
        self.counts: dict[GridSize, float] = {}

    def record(self, inputs: AttentionInputs) -> Tensor:
        """Add one attention, which is left unchanged."""
        site = inputs.site
        if site.kind != "self":
            shares = inputs.image_to_words().float().softmax(-1).mean(1)
            for place, row in enumerate(map(self.row_of, current_rows())):
                if row is not None:
                    self._add(site.grid, row, shares[place])
        return inputs.unchanged()

    def _add(self, grid: GridSize, row: int, shares: Tensor) -> None:
        """Add the shares (places, words) of a row."""
        chosen = [place for place in self.places[row] if place < shares.shape[-1]]
        total = self.sums.setdefault(grid, torch.zeros(len(self.places), 1, *grid, device=shares.device))
        total[row, 0] += shares[:, chosen].sum(-1).view(grid)
        self.counts[grid] = self.counts.get(grid, 0) + 1 / len(self.places)

    def maps(self, size: GridSize) -> Tensor:
        """Return the mean of each row (R, 1, H, W) over the sites that show places best, for latents of ``size``.

        Their grid is a quarter of the latents' size, as the papers read it in UNets, or the one nearest to that which
        is not coarse; the finest if all are coarse.
        """
        if not self.sums:
            return torch.zeros(len(self.places), 1, *size)
        fine = [grid for grid in self.sums if min(grid) >= _SMALLEST] or [max(self.sums)]
        grid = min(fine, key=lambda grid: abs(math.log(4 * grid[0] / size[0])))
        return self.sums[grid] / self.counts[grid]


def widen_maps(maps: Tensor) -> Tensor:
    """Return maps (R, 1, H, W) with the largest value around each place, as prompt-to-prompt's local blend has."""
    return F.max_pool2d(maps, 3, stride=1, padding=1)


def smooth_maps(maps: Tensor) -> Tensor:
    """Return maps (R, 1, H, W) smoothed as LEDITS++ does."""
    if min(maps.shape[-2:]) < 2:
        return maps
    # The authors' kernel divides by twice the deviation inside the square.
    line = torch.exp(-((torch.arange(-1, 2, device=maps.device) / (2 * _SIGMA)) ** 2))
    kernel = torch.outer(line, line)
    return F.conv2d(F.pad(maps, (1, 1, 1, 1), mode="reflect"), (kernel / kernel.sum()).to(maps)[None, None])
