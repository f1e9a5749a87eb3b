"""Network calls of frames in lock step, whose attention has the keys and values of the first frame beside their own."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ...diffusion.attention import AttentionInputs, CallRow, describe_rows
from ...diffusion.transfer import rows_on
from ...model.backend import Backend
from ...model.calls.combined import ROWS, concatenate, evaluate_all
from ...model.calls.request import NetworkRequest, Results
from ...sampling.attention_control import AttentionControl

FIRST = 0
"""Number of the edit of the first frame among those in lock step."""


class BesideFirst(AttentionControl):
    """Keys and values of the first frame beside those of each frame, in every attention among image tokens.

    Text2Video-Zero (Khachatryan et al., arXiv 2303.13439) puts them in the place of the frame's own; beside them a
    frame still attends to what it alone shows. ``rows`` is the number of rows of each of ``frames`` frames, the first
    of which is left as it is.
    """

    def __init__(self, rows: int, frames: int) -> None:
        super().__init__()
        self.sources = tuple(range(rows)) * frames

    def edit(self, inputs: AttentionInputs) -> Tensor:
        if inputs.site.kind == "cross":
            return inputs.unchanged()
        key, value = self.from_source(inputs, "key", "image"), self.from_source(inputs, "value", "image")
        is_first = [self.sources[row.row] == row.row for row in self.rows(inputs)]
        result = torch.empty_like(inputs.query)
        for of_first, beside in ((True, 0), (False, key.shape[2])):
            numbers = [number for number, first in enumerate(is_first) if first == of_first]
            if numbers:
                rows = rows_on(numbers, key.device)
                keys = torch.cat([inputs.key[rows], key[rows, :, :beside]], 2)
                values = torch.cat([inputs.value[rows], value[rows, :, :beside]], 2)
                bias = _with_keys(inputs.bias, rows, beside)
                result.index_copy_(0, rows, inputs.attend(inputs.query[rows], keys, values, bias))
        return result


def _with_keys(bias: Tensor | None, rows: Tensor, count: int) -> Tensor | None:
    """Return the bias of some rows with ``count`` more keys, to which every query may attend."""
    if bias is None:
        return None
    chosen = bias[rows] if bias.ndim == 4 and len(bias) > 1 else bias
    shape = (*chosen.shape[:-1], count)
    more = chosen.new_ones(shape) if chosen.dtype == torch.bool else chosen.new_zeros(shape)
    return torch.cat([chosen, more], -1)


@dc.dataclass
class AnchoredCalls:
    """Evaluation of the requests of frames in lock step, of which number FIRST is that of the first frame."""

    together: int = 0
    """Requests to the network that attended to the first frame."""
    alone: int = 0
    """Requests to the network at a time at which the first frame made none that they could join."""

    @torch.no_grad()
    def __call__(self, model: Backend, requests: dict[int, NetworkRequest]) -> Results:
        # An edit that decodes once more than others must not be a step behind them ever after: the network waits.
        others = {number: one for number, one in requests.items() if one.kind != "denoise"}
        if others:
            return evaluate_all(model, others)
        results: Results = {}
        anchored = [number for number, one in requests.items() if _corresponds(one, requests.get(FIRST))]
        self.together += len(set(anchored) - {FIRST})
        self.alone += len(requests.keys() - set(anchored))
        for numbers in _groups(anchored, requests):
            try:
                results.update(zip(numbers, _evaluate([requests[number] for number in numbers], model), strict=True))
            except Exception as error:
                results.update(dict.fromkeys(numbers, error))
        return results | evaluate_all(model, {n: one for n, one in requests.items() if n not in results})


def _corresponds(request: NetworkRequest, first: NetworkRequest | None) -> bool:
    """Return whether a request is that of the first frame for another image: as many rows, of the same points."""
    return first is not None and request.signature == first.signature and request.points == first.points


def _groups(numbers: Sequence[int], requests: dict[int, NetworkRequest]) -> Iterator[list[int]]:
    """Yield groups of requests of at most ROWS rows, if that leaves one beside the first frame; each begins with it."""
    others = [number for number in numbers if number != FIRST]
    if not others:
        return
    size = max(1, ROWS // len(requests[FIRST].x) - 1)
    for start in range(0, len(others), size):
        yield [FIRST, *others[start : start + size]]


def _evaluate(requests: Sequence[NetworkRequest], model: Backend) -> Sequence[Tensor]:
    """Return the results of requests of one signature, the first of which is that of the first frame."""
    combined, rows = concatenate(requests), len(requests[0].x)
    declared = [CallRow(0, row, point) for row, point in enumerate(combined.points)]
    with BesideFirst(rows, len(requests)).attach(model), describe_rows(declared):
        return torch.split(combined.evaluate(model), rows)
