"""Tiles: boxes that cover an image with overlap, their blending windows, and noise that they share."""

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
"""A tile overlaps its neighbour by at least its side divided by this."""


BLOCK = 64
"""Side in latents of the blocks in which noise is generated."""


class Box(NamedTuple):
    """A rectangle of an image, which may extend beyond it on the right and at the bottom."""

    top: int
    left: int
    height: int
    width: int

    def times(self, scale: int) -> Box:
        """The same box of an image ``scale`` times larger."""
        return Box(*(scale * number for number in self))


@dc.dataclass(frozen=True)
class Axis:
    """Intervals of equal length that cover a line with overlap."""

    side: int
    starts: tuple[int, ...]

    @classmethod
    def plan(cls, length: int, side: int, unit: int) -> Axis:
        """Cover ``length`` by intervals of ``side``, or by one as short as the line; all are multiples of ``unit``."""
        end = -(-length // unit) * unit
        side = min(max(unit, side // unit * unit), end)
        stride = max(unit, (side - side // OVERLAP) // unit * unit)
        gaps = -(-(end - side) // stride)
        starts = [round(i * (end - side) / (gaps * unit)) * unit for i in range(gaps + 1)] if gaps else [0]
        return cls(side, tuple(starts))

    @functools.cached_property
    def windows(self) -> Tensor:
        """Blending weights (N, side) of the intervals: smooth, with sum 1 at every place."""
        profile = torch.sin(
            (torch.arange(self.side, dtype=torch.float64, device="cpu") + 0.5) * (torch.pi / self.side)
        ).square()
        total = torch.zeros(self.starts[-1] + self.side, dtype=torch.float64, device="cpu")
        for start in self.starts:
            total[start : start + self.side] += profile
        return torch.stack([profile / total[start : start + self.side] for start in self.starts]).float()


@dc.dataclass(frozen=True)
class Tiling:
    """Boxes of one size that cover an image with overlap."""

    rows: Axis
    columns: Axis

    @classmethod
    def plan(cls, size: tuple[int, int], side: int, unit: int) -> Tiling:
        """Cover an image of ``size`` (width, height) by squares of ``side`` pixels, cut where the image is smaller.

        Positions and sides of all boxes are multiples of ``unit``; the last boxes may extend beyond the image.
        """
        width, height = size
        return cls(Axis.plan(height, side, unit), Axis.plan(width, side, unit))

    def __len__(self) -> int:
        return len(self.rows.starts) * len(self.columns.starts)

    def __iter__(self) -> Iterator[tuple[Box, Tensor]]:
        """Yield each box with its window (height, width); the windows add to 1 at every pixel."""
        rows, columns = (list(zip(axis.starts, axis.windows, strict=True)) for axis in (self.rows, self.columns))
        for (top, down), (left, across) in itertools.product(rows, columns):
            yield Box(top, left, self.rows.side, self.columns.side), torch.outer(down, across)


@dc.dataclass(frozen=True)
class NoiseField:
    """Unbounded field of unit normal noise; any part can be generated alone, and overlapping parts agree.

    The noise is generated on the CPU in blocks seeded by their position, so that none has to be stored.
    """

    seed: int

    def part(self, name: str, channels: int, box: Box) -> Tensor:
        """Noise (1, channels, height, width) of a box in latents; every ``name`` has a field of its own."""
        top, left = box.top // BLOCK, box.left // BLOCK
        down, across = range(top, -(-(box.top + box.height) // BLOCK)), range(left, -(-(box.left + box.width) // BLOCK))
        blocks = torch.cat([torch.cat([self._block(name, channels, i, j) for j in across], 2) for i in down], 1)
        rows, columns = box.top - top * BLOCK, box.left - left * BLOCK
        return blocks[None, :, rows : rows + box.height, columns : columns + box.width]

    def _block(self, name: str, channels: int, row: int, column: int) -> Tensor:
        digest = hashlib.sha256(f"{self.seed} {name} {row} {column}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        return torch.randn((channels, BLOCK, BLOCK), generator=generator, dtype=torch.float32, device="cpu")
