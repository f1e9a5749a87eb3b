"""Tiles: boxes that cover a picture with overlap, their blending windows, and noise that they share."""

from __future__ import annotations

import dataclasses as dc
import functools
import hashlib
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

OVERLAP = 4
"""One part in so many of a tile lies over its neighbour, at the least."""


BLOCK = 64
"""Side of the blocks that noise is drawn in, in latents."""


class Box(NamedTuple):
    """A rectangle of a picture, which may reach beyond it on the right and below."""

    top: int
    left: int
    height: int
    width: int

    def times(self, scale: int) -> Box:
        """The same part of a picture ``scale`` times larger."""
        return Box(*(scale * number for number in self))


@dc.dataclass(frozen=True)
class Axis:
    """Equal lengths that cover a line with overlap, beginning at multiples of ``unit``."""

    side: int
    starts: tuple[int, ...]

    @classmethod
    def plan(cls, length: int, side: int, unit: int) -> Axis:
        """Cover ``length`` by lengths of ``side``, or by one that is as short as the line; multiples of ``unit``."""
        end = -(-length // unit) * unit
        side = min(max(unit, side // unit * unit), end)
        stride = max(unit, (side - side // OVERLAP) // unit * unit)
        gaps = -(-(end - side) // stride)
        starts = [round(i * (end - side) / (gaps * unit)) * unit for i in range(gaps + 1)] if gaps else [0]
        return cls(side, tuple(starts))

    @functools.cached_property
    def windows(self) -> Tensor:
        """How much of each length a place takes, (N, side): smooth, and 1 in sum wherever lengths overlap."""
        profile = torch.sin((torch.arange(self.side, dtype=torch.float64) + 0.5) * (torch.pi / self.side)).square()
        total = torch.zeros(self.starts[-1] + self.side, dtype=torch.float64)
        for start in self.starts:
            total[start : start + self.side] += profile
        return torch.stack([profile / total[start : start + self.side] for start in self.starts]).float()


@dc.dataclass(frozen=True)
class Tiling:
    """Boxes of one size that cover a picture with overlap."""

    rows: Axis
    columns: Axis

    @classmethod
    def plan(cls, size: tuple[int, int], side: int, unit: int) -> Tiling:
        """Cover a picture of ``size`` (width, height) by squares of ``side`` pixels, or what of them it can fill.

        All boxes begin at multiples of ``unit`` and have sides that are; the last may reach beyond the picture.
        """
        width, height = size
        return cls(Axis.plan(height, side, unit), Axis.plan(width, side, unit))

    def __len__(self) -> int:
        return len(self.rows.starts) * len(self.columns.starts)

    def __iter__(self) -> Iterator[tuple[Box, Tensor]]:
        """Each box with its window (height, width), which add to 1 at every pixel."""
        rows, columns = (list(zip(axis.starts, axis.windows, strict=True)) for axis in (self.rows, self.columns))
        for (top, down), (left, across) in itertools.product(rows, columns):
            yield Box(top, left, self.rows.side, self.columns.side), torch.outer(down, across)


@dc.dataclass(frozen=True)
class NoiseField:
    """Unit normal noise without bounds, of which any part can be drawn alone: overlapping parts agree.

    It is drawn on the CPU in blocks that are seeded by where they lie, so that nothing of it has to be kept.
    """

    seed: int

    def part(self, name: str, channels: int, box: Box) -> Tensor:
        """The noise (1, channels, height, width) of a box in latents; every ``name`` has a field of its own."""
        top, left = box.top // BLOCK, box.left // BLOCK
        down, across = range(top, -(-(box.top + box.height) // BLOCK)), range(left, -(-(box.left + box.width) // BLOCK))
        blocks = torch.cat([torch.cat([self.block(name, channels, i, j) for j in across], 2) for i in down], 1)
        rows, columns = box.top - top * BLOCK, box.left - left * BLOCK
        return blocks[None, :, rows : rows + box.height, columns : columns + box.width]

    def block(self, name: str, channels: int, row: int, column: int) -> Tensor:
        digest = hashlib.sha256(f"{self.seed} {name} {row} {column}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        return torch.randn((channels, BLOCK, BLOCK), generator=generator)
