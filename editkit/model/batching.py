"""Run several edits of one model in lock step: their simultaneous requests become one network call."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from ..diffusion.denoiser import Condition, stack_conditions
from ..diffusion.points import Point, PointBatch
from ..errors import Cancelled
from .backend import Backend

ROWS = 64
"""Most rows of one combined call; a request with more rows is evaluated separately."""


Outcome = TypeVar("Outcome")


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


Submit = Callable[[NetworkRequest], Tensor]
"""Function that hands a request to the scheduler and waits for its result."""


class BatchedBackend:
    """Model of one edit in a batch: calls that can be combined are submitted, everything else goes to the model.

    A call with gradients, or while a control has changed the model, is evaluated at once; no other edit runs meanwhile.
    """

    def __init__(self, model: Backend, submit: Submit) -> None:
        self.model, self.submit = model, submit
        self.exclusive_depth = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def encode(self, pixels: Tensor) -> Tensor:
        return self._evaluate(NetworkRequest("encode", pixels))

    def decode(self, latents: Tensor) -> Tensor:
        return self._evaluate(NetworkRequest("decode", latents))

    def denoise(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        return self._evaluate(NetworkRequest("denoise", x, point, condition))

    def _evaluate(self, request: NetworkRequest) -> Tensor:
        if self.exclusive_depth or torch.is_grad_enabled():
            return request.evaluate(self.model)
        return self.submit(request)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Evaluate all calls at once, uncombined, in this block."""
        self.exclusive_depth += 1
        try:
            yield
        finally:
            self.exclusive_depth -= 1


def exclusive(model: Backend) -> AbstractContextManager[None]:
    """Return a context in which calls are not combined with other edits, because a control changes the model."""
    return model.exclusive() if isinstance(model, BatchedBackend) else contextlib.nullcontext()


def unwrap(model: Backend) -> Backend:
    """Return the model behind a :class:`BatchedBackend`, or the model itself."""
    return model.model if isinstance(model, BatchedBackend) else model


class EditThread(Generic[Outcome]):
    """Edit on its own thread, which runs only while :meth:`advance` waits for it."""

    def __init__(self, edit: Callable[[Submit], Outcome]) -> None:
        self.edit = edit
        self.results: queue.SimpleQueue[Tensor | BaseException | None] = queue.SimpleQueue()
        self.requests: queue.SimpleQueue[NetworkRequest | None] = queue.SimpleQueue()
        self.outcome: Outcome | BaseException | None = None
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        """Run the edit and store its outcome or its error."""
        try:
            self._wait()
            self.outcome = self.edit(self._submit)
        except BaseException as error:
            self.outcome = error
        self.requests.put(None)

    def _submit(self, request: NetworkRequest) -> Tensor:
        self.requests.put(request)
        return cast(Tensor, self._wait())

    def _wait(self) -> Tensor | None:
        result = self.results.get()
        if isinstance(result, BaseException):
            raise result
        return result

    def advance(self, result: Tensor | BaseException | None) -> NetworkRequest | None:
        """Continue with the result of the last request and return the next request, or None at the end."""
        if not self.thread.ident:
            self.thread.start()
        self.results.put(result)
        return self.requests.get()


Results = dict[int, Tensor | BaseException | None]
"""Results of requests, or the errors that the model raised, by the numbers of their edits."""


def run_in_lock_step(
    model: Backend,
    edits: Sequence[Callable[[Backend], Outcome]],
    evaluate: Callable[[Backend, dict[int, NetworkRequest]], Results] | None = None,
) -> Generator[tuple[int, Any]]:
    """Yield the number and the outcome, or the error, of each edit as it ends.

    One edit runs at a time, until it submits a request; the requests of all edits are then evaluated, in one call if
    their signatures are equal, or by ``evaluate``, which returns results of one or more requests; edits without one
    wait. If the caller stops iterating, the other edits are cancelled.
    """
    running = {number: EditThread(_with_batching(edit, model)) for number, edit in enumerate(edits)}
    results: Results = dict.fromkeys(running)
    requests: dict[int, NetworkRequest] = {}
    try:
        while running:
            for number, result in results.items():
                edit = running[number]
                request = edit.advance(result)
                if request is not None:
                    requests[number] = request
                else:
                    del running[number]
                    requests.pop(number, None)
                    yield number, edit.outcome
            results = (evaluate or evaluate_all)(model, requests)
    finally:
        for edit in running.values():
            _cancel(edit)


def _with_batching(edit: Callable[[Backend], Outcome], model: Backend) -> Callable[[Submit], Outcome]:
    return lambda submit: edit(cast(Backend, BatchedBackend(model, submit)))


def _cancel(edit: EditThread[Any]) -> None:
    """End an edit by an error at every request, and wait until its thread has released everything."""
    while edit.advance(Cancelled("cancelled")) is not None:
        pass


@torch.no_grad()
def evaluate_all(model: Backend, requests: dict[int, NetworkRequest]) -> Results:
    """Return the result of each request, or the error that the model raised."""
    results: Results = {}
    for numbers in _group_compatible(requests):
        try:
            rows = concatenate([requests[number] for number in numbers]).evaluate(model)
            parts = torch.split(rows, [len(requests[number].x) for number in numbers])
            results.update(zip(numbers, parts, strict=True))
        except Exception as error:
            results.update(dict.fromkeys(numbers, error))
    return results


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
