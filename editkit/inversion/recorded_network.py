"""Guidance of a replay that returns estimates recorded during inversion instead of evaluating the network again."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..diffusion.attention import select_rows
from ..diffusion.denoiser import Condition, Network
from ..diffusion.points import Point, PointBatch
from ..diffusion.source_rows import SourceRows, source_rows_of, version_of
from ..diffusion.transfer import rows_on
from ..sampling.guidance import Guidance
from .record import InversionRecord, RecordedEstimates

_PLANS = 4
"""Number of conditions whose plans are kept; a replay has those inside and outside the interval of guidance."""


class _RecordedRow(NamedTuple):
    """Row of a network call whose condition has recorded estimates."""

    row: int
    estimates: int
    """Number among the recorded estimates."""
    source: int


class _Plan(NamedTuple):
    """Rows of a network call with one condition whose estimates are recorded, and the call for the others."""

    recorded: Sequence[_RecordedRow]
    missing: Sequence[int]
    """The other rows, M of them."""
    rows: Tensor
    """The other rows as an index (M,)."""
    condition: Condition
    """Condition of the other rows: one object, so that networks can cache what they compute from it."""


class RecordedNetwork:
    """Network for a replay that has the estimates of its sources already.

    A replay has ``rows`` rows, of which the first S are the sources; a call has a multiple of as many. Estimates are
    reused where :attr:`source_rows` are on the recorded trajectory, and for conditions that equal a recorded one bit
    for bit, which are compared once. The host reads nothing from the device in a step.
    """

    def __init__(
        self, network: Network, record: InversionRecord, estimates: Sequence[RecordedEstimates], rows: int
    ) -> None:
        self.network, self.record, self.estimates, self.rows = network, record, estimates, rows
        self.source_rows: SourceRows | None = None
        """Mark of the latents in the call in progress."""
        self._plans: dict[tuple[object, ...], tuple[Condition, _Plan]] = {}

    def __call__(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        places = [self._place(one, point) for one in self.estimates]
        if all(place is None for place in places):
            return self.network(x, point, condition)
        plan = self._plan(x, condition, tuple(place is not None for place in places))
        if not plan.recorded:
            return self.network(x, point, condition)
        x0 = torch.empty_like(x)
        for row, number, source in plan.recorded:
            x0[row] = self.estimates[number].estimates[source, places[number]]
        if plan.missing:
            with select_rows(plan.missing):
                x0.index_copy_(0, plan.rows, self.network(x[plan.rows], point, plan.condition))
        return x0

    def _place(self, recorded: RecordedEstimates, point: Point | PointBatch) -> int | None:
        """Return the place among recorded estimates of that of the sources at a point, None if it is not recorded."""
        rows = self.source_rows
        if rows is None or rows.trajectory is not self.record.trajectory:
            return None
        index = rows.place - recorded.ahead
        place = index - recorded.start
        is_recorded = index >= 0 and self.record.path[index] == point and 0 <= place < recorded.estimates.shape[1]
        return place if is_recorded else None

    def _plan(self, x: Tensor, condition: Condition, available: tuple[bool, ...]) -> _Plan:
        """Return the plan of calls with a condition, of which ``available`` estimates have the point."""
        tensors = [(name, id(tensor), version_of(tensor)) for name, tensor in condition.items()]
        key = (len(x), available, *tensors)
        if key not in self._plans:
            while len(self._plans) >= _PLANS:
                del self._plans[next(iter(self._plans))]
            # The condition is kept too: the id of a tensor may be given again once it does not exist.
            self._plans[key] = condition, self._compare(x, condition, available)
        return self._plans[key][1]

    def _compare(self, x: Tensor, condition: Condition, available: tuple[bool, ...]) -> _Plan:
        """Compare a condition with the recorded ones; a later record has the rows that equal several."""
        trajectory = self.record.trajectory[0]
        source_of = {row: row % self.rows for row in range(len(x)) if row % self.rows < len(trajectory)}
        recorded: dict[int, _RecordedRow] = {}
        for number, one in enumerate(self.estimates):
            inputs, other = {"x": x, **condition}, {"x": trajectory, **one.condition}
            if available[number] and _row_signature(inputs) == _row_signature(other):
                equal = _equal_rows(condition, one.condition, source_of)
                recorded |= {row: _RecordedRow(row, number, source_of[row]) for row in equal}
        missing = [row for row in range(len(x)) if row not in recorded]
        cut = {name: tensor[rows_on(missing, tensor.device)] for name, tensor in condition.items()}
        return _Plan(tuple(recorded.values()), missing, rows_on(missing, x.device), cut)


@dc.dataclass(frozen=True)
class GuidanceWithRecord(Guidance):
    """Guidance on a :class:`RecordedNetwork`, which learns the mark of the latents that it is called with."""

    recorded: RecordedNetwork | None = None

    @classmethod
    def of(cls, guidance: Guidance, recorded: RecordedNetwork) -> GuidanceWithRecord:
        """Return the same guidance on a network with records."""
        fields = {field.name: getattr(guidance, field.name) for field in dc.fields(guidance)}
        return cls(**{**fields, "network": recorded}, recorded=recorded)

    def __call__(self, x: Tensor, point: Point | PointBatch) -> Tensor:
        assert self.recorded is not None
        self.recorded.source_rows = source_rows_of(x)
        return super().__call__(x, point)


def _equal_rows(inputs: Condition, recorded: Condition, source_of: dict[int, int]) -> list[int]:
    """Return the rows of a condition, among those in ``source_of``, that equal the recorded rows of their sources.

    The comparison is bitwise: an estimate of nearly equal inputs would make a replay depend on where it is used.
    """
    rows, sources = list(source_of), list(source_of.values())
    flags: dict[torch.device, list[Tensor]] = {}  # one transfer for each device: each makes the host wait
    for name, tensor in recorded.items():
        same = inputs[name][rows_on(rows, tensor.device)] == tensor[rows_on(sources, tensor.device)]
        flags.setdefault(tensor.device, []).append(same.reshape(len(rows), -1).all(1))
    is_equal = [torch.stack(of_device).all(0).tolist() for of_device in flags.values()]
    return [row for number, row in enumerate(rows) if all(one[number] for one in is_equal)]


def _row_signature(tensors: Condition) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Return the shapes of a row and the dtypes of named tensors: equal ones can be compared row by row."""
    return {name: (tensor.shape[1:], tensor.dtype) for name, tensor in tensors.items()}
