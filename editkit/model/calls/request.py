"""Requests of edits to their model, and their results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from ...diffusion.denoiser import Condition
from ...diffusion.points import Point, PointBatch
from ..backend import Backend


class NetworkRequest(NamedTuple):
    """One call of a model; ``denoise`` has a point and a condition, ``encode`` and ``decode`` have none."""

    kind: str
    x: Tensor
    point: Point | PointBatch | None = None
    condition: Condition | None = None

    @property
    def signature(self) -> tuple[Any, ...]:
        """Kind, shapes and dtypes: requests of equal signature can be combined."""
        condition = [(name, one.shape[1:], one.dtype) for name, one in sorted((self.condition or {}).items())]
        return (self.kind, self.x.shape[1:], self.x.dtype, *condition)

    @property
    def points(self) -> tuple[Point, ...]:
        """Point of each row."""
        assert self.point is not None
        return self.point.rows(len(self.x))

    def evaluate(self, model: Backend) -> Tensor:
        """Call the model."""
        if self.kind == "denoise":
            assert self.point is not None and self.condition is not None
            return model.denoise(self.x, self.point, self.condition)
        return model.encode(self.x) if self.kind == "encode" else model.decode(self.x)


Results = dict[int, Tensor | BaseException | None]
"""Results of requests, or the errors that the model raised, by the numbers of their edits."""

Evaluate = Callable[[Backend, dict[int, NetworkRequest]], Results]
"""Function that evaluates one or more of the requests of all edits."""


def evaluate_groups(
    groups: Sequence[Sequence[int]],
    requests: dict[int, NetworkRequest],
    evaluate: Callable[[Sequence[NetworkRequest]], Sequence[Tensor]],
) -> Results:
    """Return the result of each request in groups, or the error that the model raised for it.

    If the evaluation of several requests fails, each is evaluated again without the others: one may be at fault.
    """
    results: Results = {}
    waiting = [list(group) for group in groups]
    while waiting:
        numbers = waiting.pop()
        try:
            evaluated = evaluate([requests[number] for number in numbers])
            results.update(zip(numbers, evaluated, strict=True))
        except Exception as error:
            if len(numbers) == 1:
                results[numbers[0]] = error
            else:
                waiting += [[number] for number in numbers]
    return results
