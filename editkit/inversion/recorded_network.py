"""A network that is not asked again what it has said already."""

from __future__ import annotations

import dataclasses as dc
import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from ..diffusion.denoiser import Condition, Network
from ..diffusion.points import Point, PointBatch
from .record import InversionRecord, RecordedEstimates


@dc.dataclass(frozen=True)
class RecordedNetwork:
    """A network that knows what it ``said`` of the S sources of a climb, for a replay that leads them the same way.

    A row of a question is answered by that where it is the same, bit for bit, and the network is asked about all
    others. ``rows`` is how many the replay has, of which the first S are the sources; a question has any number of
    times as many.
    """

    network: Network
    record: InversionRecord
    estimates: Sequence[RecordedEstimates]
    rows: int

    @functools.cached_property
    def index_of(self) -> dict[Point | PointBatch, int]:
        """Where in the trajectory a point lies."""
        return {point: place for place, point in enumerate(self.record.path)}

    def __call__(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        place = self.index_of.get(point)
        known = {} if place is None else self.find_recorded(x, place, condition)
        if not known:
            return self.network(x, point, condition)
        answer = torch.empty_like(x)
        answer[list(known)] = torch.stack(list(known.values()))
        others = [row for row in range(len(x)) if row not in known]
        if others:
            asked = {name: tensor[others] for name, tensor in condition.items()}
            answer[others] = self.network(x[others], point, asked)
        return answer

    def find_recorded(self, x: Tensor, place: int, condition: Condition) -> dict[int, Tensor]:
        """The rows of a question that were asked before, and the answer (C, h, w) to each."""
        wanted, given = {"x": self.record.trajectory[place]}, {"x": x, **condition}
        about = [
            (said.estimates[:, place - said.start], {**wanted, **said.condition})
            for said in self.estimates
            if 0 <= place - said.start < said.estimates.shape[1]
        ]
        about = [(answers, asked) for answers, asked in about if row_signature(asked) == row_signature(given)]
        if not about:
            return {}
        sources = {row: row % self.rows for row in range(len(x)) if row % self.rows < self.record.trajectory.shape[1]}
        rows, of = list(sources), list(sources.values())
        same = [
            torch.stack([(given[name][rows] == asked[name][of]).reshape(len(rows), -1).all(1) for name in asked]).all(0)
            for _, asked in about
        ]
        alike = torch.stack(same).tolist()  # one wait for the device
        return {
            row: answers[source]
            for (answers, _), known in zip(about, alike, strict=True)
            for (row, source), one in zip(sources.items(), known, strict=True)
            if one
        }


def row_signature(tensors: Condition) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """What tensors have in common where they can be compared row by row."""
    return {name: (tensor.shape[1:], tensor.dtype) for name, tensor in tensors.items()}
