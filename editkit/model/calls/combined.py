"""Calls of all rows of simultaneous requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...diffusion.denoiser import stack_conditions
from ...diffusion.points import PointBatch
from ..backend import Backend
from .request import NetworkRequest, Results, evaluate_groups

ROWS = 64
"""Most rows of one combined call; a request with more rows is evaluated separately."""


@torch.no_grad()
def evaluate_all(model: Backend, requests: dict[int, NetworkRequest]) -> Results:
    """Return the result of each request, or the error that the model raised."""

    def evaluate(group: Sequence[NetworkRequest]) -> Sequence[Tensor]:
        return torch.split(concatenate(group).evaluate(model), [len(request.x) for request in group])

    return evaluate_groups(_group_compatible(requests), requests, evaluate)


def _group_compatible(requests: dict[int, NetworkRequest]) -> list[list[int]]:
    """Return groups of requests that can be combined, each of at most :data:`ROWS` rows if it has several."""
    groups: list[list[int]] = []
    latest: dict[tuple[Any, ...], list[int]] = {}
    for number, request in requests.items():
        group = latest.get(request.signature, [])
        if not group or sum(len(requests[other].x) for other in group) + len(request.x) > ROWS:
            latest[request.signature] = group = []
            groups.append(group)
        group.append(number)
    return groups


def concatenate(requests: Sequence[NetworkRequest]) -> NetworkRequest:
    """Combine requests of one signature; if all rows have one point, so does the result."""
    first = requests[0]
    if len(requests) == 1:
        return first
    x = torch.cat([request.x for request in requests])
    if first.condition is None:
        return NetworkRequest(first.kind, x)
    points = tuple(point for request in requests for point in request.points)
    point = points[0] if len(set(points)) == 1 else PointBatch(points)
    return NetworkRequest(first.kind, x, point, stack_conditions([request.condition or {} for request in requests]))
