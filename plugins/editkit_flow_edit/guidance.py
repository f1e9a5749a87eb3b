"""Guidance that evaluates no row of a batch twice under one condition."""

from __future__ import annotations

import dataclasses as dc
import functools

import torch
from torch import Tensor

from editkit import CallRow, Condition, Guidance, Point, PointBatch, describe_rows, rows_on


class DistinctRows(Guidance):
    """Guidance that evaluates a row once where several of its conditions are equal.

    The estimates are those of :class:`Guidance`, up to the rounding of another batch size. Where the negative prompt is
    the source prompt, a source takes one evaluation and its edit two, as in FlowAlign (Kim et al., arXiv 2505.23145).
    """

    @classmethod
    def of(cls, guidance: Guidance) -> DistinctRows:
        """Return the same guidance with distinct rows."""
        return cls(**{field.name: getattr(guidance, field.name) for field in dc.fields(guidance)})

    def __call__(self, x: Tensor, point: Point | PointBatch) -> Tensor:
        if isinstance(point, PointBatch) or not self.active_at(point):
            return super().__call__(x, point)
        numbers = range(len(x)) if self.rows is None else self.rows
        calls = [CallRow(self.active_numbers[place], numbers[row], point) for place, row in self.evaluations]
        with describe_rows(calls):
            every = self.network(x[self.evaluated_rows], point, self.distinct_conditions)
        estimates = [every[index] for index in self.evaluation_of]
        if len(estimates) == 1:
            return estimates[0]
        return self.combine(estimates, [weight for weight in self.weights if weight], x, point)

    @functools.cached_property
    def places(self) -> list[list[int]]:
        """For each active condition and row the place of the first active condition that equals it there."""
        conditions = self.active_conditions
        rows = range(len(next(iter(conditions[0].values()))))
        return [
            [next(place for place, one in enumerate(conditions) if _is_equal(one, condition, row)) for row in rows]
            for condition in conditions
        ]

    @functools.cached_property
    def evaluations(self) -> list[tuple[int, int]]:
        """Active condition and row of each evaluation."""
        return [
            (place, row)
            for place, firsts in enumerate(self.places)
            for row, first in enumerate(firsts)
            if first == place
        ]

    @functools.cached_property
    def evaluated_rows(self) -> Tensor:
        """Row of each evaluation, as an index."""
        return rows_on([row for _, row in self.evaluations], self._device)

    @functools.cached_property
    def evaluation_of(self) -> list[Tensor]:
        """For each active condition the evaluations of its rows, as an index."""
        order = {evaluation: number for number, evaluation in enumerate(self.evaluations)}
        pairs = [zip(places, range(len(places)), strict=True) for places in self.places]
        return [rows_on([order[pair] for pair in of_condition], self._device) for of_condition in pairs]

    @property
    def _device(self) -> torch.device:
        return next(iter(self.conditions[0].values())).device

    @functools.cached_property
    def distinct_conditions(self) -> Condition:
        """Conditions of the evaluations along the batch, computed once so that networks can cache their projections."""
        conditions = self.active_conditions
        return {
            name: torch.stack([conditions[place][name][row] for place, row in self.evaluations])
            for name in conditions[0]
        }


def _is_equal(one: Condition, other: Condition, row: int) -> bool:
    """Return whether two conditions are equal in one row."""
    return all(torch.equal(tensor[row], other[name][row]) for name, tensor in one.items())
