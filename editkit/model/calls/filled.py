"""Calls of a fixed number of rows, by which the bits of a row do not depend on other rows.

The rounding of a call depends on its number of rows, and not on their content or order: kernels of matrix products and
convolutions choose how they add up by the shapes of their inputs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...diffusion.denoiser import Condition
from ...diffusion.points import PointBatch
from ...diffusion.source_rows import version_of
from ..backend import Backend
from .request import NetworkRequest, Results, evaluate_groups

LIMITS = {"denoise": (2, 16), "encode": (1, 4), "decode": (1, 4)}
"""Least and most rows of a call, by kind: two are those of a guided edit."""

SIDES = {"denoise": 256, "encode": 256, "decode": 32}
"""Sum of the sides of all rows of a call, in latents or pixels, by kind.

It gives 16 rows for latents of 16 x 16, 4 for 64 x 64 and 2 for 128 x 128. More rows in a call make a row hardly
cheaper there on a CPU, while they take memory, and time where a call is filled for few rows. A fast GPU evaluates more
rows of a small network in the same time.
"""


class FilledCalls:
    """Evaluates requests of one signature in calls of a number of rows that their signature alone decides.

    As long as requests fill a call, the others wait for more of their signature. A call of fewer rows is filled with
    copies of its first one. For a model that divides its calls itself, which declares ``divides_calls``, each request
    is evaluated without the others.
    """

    def __init__(self) -> None:
        self.stacked: dict[tuple[Any, ...], StackedConditions] = {}
        """The last conditions of each signature."""

    @torch.no_grad()
    def __call__(self, model: Backend, requests: dict[int, NetworkRequest]) -> Results:
        if getattr(model, "divides_calls", False):
            return evaluate_groups([[n] for n in requests], requests, lambda one: [one[0].evaluate(model)])
        groups: dict[Any, list[int]] = {}
        for number, request in requests.items():
            groups.setdefault(request.signature, []).append(number)
        chosen = [full for numbers in groups.values() if (full := _filling(numbers, requests))]
        if not chosen and groups:
            chosen = [max(groups.values(), key=lambda numbers: _share(numbers, requests))]
        return evaluate_groups(chosen, requests, lambda group: self.evaluate(model, group))

    def evaluate(self, model: Backend, requests: Sequence[NetworkRequest]) -> Sequence[Tensor]:
        """Return the result of each of several requests of one signature."""
        first, rows = requests[0], [(request, row) for request in requests for row in range(len(request.x))]
        count = rows_per_call(first)
        parts = [rows[start : start + count] for start in range(0, len(rows), count)]
        calls = [part + part[:1] * (count - len(part)) for part in parts]
        evaluated: list[Tensor] = []
        for part, call, condition in zip(parts, calls, self._conditions(requests, calls), strict=True):
            # Copied into memory of its own, since rounding may depend on the alignment of a tensor.
            x = torch.cat([request.x[row : row + 1] for request, row in call])
            # Points of their own also for equal rows: a device may round a number in another way than a tensor.
            point = None if condition is None else PointBatch(tuple(request.points[row] for request, row in call))
            outputs = NetworkRequest(first.kind, x, point, condition).evaluate(model)
            evaluated += torch.split(outputs, 1)[: len(part)]
        results = iter(evaluated)
        return [torch.cat(list(itertools.islice(results, len(request.x)))) for request in requests]

    def _conditions(
        self, requests: Sequence[NetworkRequest], calls: Sequence[Sequence[tuple[NetworkRequest, int]]]
    ) -> Sequence[Condition | None]:
        """Return the condition of each call: the same tensors as long as the requests have the same ones.

        A network keeps what it computes from a condition while that is the same tensor.
        """
        given = [request.condition for request in requests if request.condition is not None]
        if not given:
            return [None] * len(calls)
        versions, known = [_version(tensor) for one in given for tensor in one.values()], self.stacked
        signature = requests[0].signature
        if signature not in known or known[signature].versions != versions:
            known[signature] = StackedConditions(given, versions, [_stack_rows(call) for call in calls])
        return known[signature].calls


class StackedConditions(NamedTuple):
    """Conditions of requests along the batch of their calls."""

    given: Sequence[Condition]
    """Conditions of the requests, kept so that no other tensor gets the identity of one of theirs."""
    versions: Sequence[tuple[int, int]]
    calls: Sequence[Condition]


def _stack_rows(call: Sequence[tuple[NetworkRequest, int]]) -> Condition:
    """Return the condition of rows of requests."""
    rows = [(request.condition or {}, row) for request, row in call]
    return {name: torch.cat([condition[name][row : row + 1] for condition, row in rows]) for name in rows[0][0]}


def _version(tensor: Tensor) -> tuple[int, int]:
    """Return a key of the content of a tensor as long as the tensor exists."""
    return id(tensor), version_of(tensor)


def _filling(numbers: Sequence[int], requests: dict[int, NetworkRequest]) -> list[int]:
    """Return the requests of one signature that have waited longest and fill calls; none if they are too few."""
    rows, count = 0, rows_per_call(requests[numbers[0]])
    most = sum(len(requests[number].x) for number in numbers) // count * count
    chosen = []
    for number in numbers:
        rows += len(requests[number].x)
        if rows > most:
            break
        chosen.append(number)
    return chosen


def _share(numbers: Sequence[int], requests: dict[int, NetworkRequest]) -> float:
    """Return the share of a call that requests of one signature fill."""
    return sum(len(requests[number].x) for number in numbers) / rows_per_call(requests[numbers[0]])


def rows_per_call(request: NetworkRequest) -> int:
    """Return the number of rows of a filled call, which depends on nothing but the shape of a row."""
    height, width = request.x.shape[-2:]
    least, most = LIMITS[request.kind]
    return min(max(SIDES[request.kind] // math.isqrt(height * width), least), most)
