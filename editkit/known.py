"""A network that is not asked again what it has said already."""

from __future__ import annotations

import dataclasses as dc
import functools

import torch
from torch import Tensor

from .guidance import Condition, Network
from .inversion import Climb
from .points import Point, Points


@dc.dataclass(frozen=True)
class Known:
    """A network that knows what it said of the S sources of a climb, for a replay that leads them the same way.

    ``estimates`` (S, N, C, h, w) are its answers about all of the climb's trajectory but the noisiest latents, under
    ``condition``. A row of a question is answered by them where it is the same, bit for bit, and the network is asked
    about all others. ``rows`` is how many the replay has, of which the first S are the sources; a question has any
    number of times as many.
    """

    network: Network
    climb: Climb
    condition: Condition
    estimates: Tensor
    rows: int

    @functools.cached_property
    def places(self) -> dict[Point, int]:
        """Where in the trajectory a point lies that the network was asked at."""
        return {point: place for place, point in enumerate(self.climb.path) if place > 0}

    def __call__(self, x: Tensor, point: Point | Points, condition: Condition) -> Tensor:
        place = None if isinstance(point, Points) else self.places.get(point)
        known = {} if place is None else self.known(x, place, condition)
        if place is None or not known:
            return self.network(x, point, condition)
        answer = torch.empty_like(x)
        answer[list(known)] = self.estimates[list(known.values()), place - 1]
        others = [row for row in range(len(x)) if row not in known]
        if others:
            asked = {name: tensor[others] for name, tensor in condition.items()}
            answer[others] = self.network(x[others], point, asked)
        return answer

    def known(self, x: Tensor, place: int, condition: Condition) -> dict[int, int]:
        """The rows of a question that were asked before, and the source that each is."""
        wanted = {"x": self.climb.trajectory[place], **self.condition}
        given = {"x": x, **condition}
        kinds = [{name: (one.shape[1:], one.dtype) for name, one in side.items()} for side in (wanted, given)]
        if kinds[0] != kinds[1]:
            return {}
        sources = {row: row % self.rows for row in range(len(x)) if row % self.rows < len(self.estimates)}
        rows, of = list(sources), list(sources.values())
        same = [(given[name][rows] == wanted[name][of]).reshape(len(rows), -1).all(1) for name in wanted]
        alike = torch.stack(same).all(0).tolist()  # one wait for the device
        return {row: source for (row, source), known in zip(sources.items(), alike, strict=True) if known}
