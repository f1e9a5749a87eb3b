"""Run several edits of one model in lock step: their simultaneous requests become one network call."""

from __future__ import annotations

import contextlib
import contextvars
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, Literal, TypeVar, cast

import torch
from torch import Tensor

from ..diffusion.denoiser import Condition
from ..diffusion.points import Point, PointBatch
from ..errors import Cancelled
from .backend import Backend
from .calls.combined import evaluate_all
from .calls.filled import FilledCalls
from .calls.request import Evaluate, NetworkRequest, Results

Grouping = Literal["alone", "combined", "filled"]
"""How the calls of an edit are evaluated: its own rows, with rows of other edits, or filled to a fixed number."""

Outcome = TypeVar("Outcome")

Submit = Callable[[NetworkRequest], Tensor]
"""Function that hands a request to the scheduler and waits for its result."""


class BatchedBackend:
    """Model of one edit in a batch: calls that can be combined are submitted, everything else goes to the model.

    A call with gradients, or while a control has changed the model, is evaluated at once; no other edit runs meanwhile.
    """

    def __init__(self, model: Backend, submit: Submit, grouping: Grouping = "combined") -> None:
        self.model, self.submit, self.grouping = model, submit, grouping
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


def grouping_of(model: Backend) -> Grouping:
    """Return how the calls of an edit with this model are evaluated, on which the last bits of their results depend."""
    if not isinstance(model, BatchedBackend) or model.exclusive_depth:
        return "alone"
    return model.grouping


class EditThread(Generic[Outcome]):
    """Edit on its own thread, which runs only while :meth:`advance` waits for it."""

    def __init__(self, edit: Callable[[Submit], Outcome]) -> None:
        self.edit = edit
        self.results: queue.SimpleQueue[Tensor | BaseException | None] = queue.SimpleQueue()
        self.requests: queue.SimpleQueue[NetworkRequest | None] = queue.SimpleQueue()
        self.outcome: Outcome | BaseException | None = None
        self.thread = threading.Thread(target=contextvars.copy_context().run, args=(self.run,), daemon=True)

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


def run_in_lock_step(
    model: Backend, edits: Sequence[Callable[[Backend], Outcome]], evaluate: Evaluate = evaluate_all
) -> Generator[tuple[int, Any]]:
    """Yield the number and the outcome, or the error, of each edit as it ends.

    One edit runs at a time, until it submits a request; the requests of all edits are then evaluated, in one call if
    their signatures are equal, or by ``evaluate``, which returns results of one or more requests; edits without one
    wait, and requests come in the order in which they wait. If the caller stops iterating, the other edits are
    cancelled. With :class:`FilledCalls`, the bits of an outcome do not depend on the other edits.
    """
    grouping: Grouping = "filled" if isinstance(evaluate, FilledCalls) else "combined"
    running = {number: EditThread(_with_batching(edit, model, grouping)) for number, edit in enumerate(edits)}
    results: Results = dict.fromkeys(running)
    requests: dict[int, NetworkRequest] = {}
    try:
        while running:
            for number, result in results.items():
                edit = running[number]
                requests.pop(number, None)
                request = edit.advance(result)
                if request is not None:
                    requests[number] = request
                else:
                    del running[number]
                    yield number, edit.outcome
            results = evaluate(model, requests)
    finally:
        for edit in running.values():
            _cancel(edit)


def _with_batching(
    edit: Callable[[Backend], Outcome], model: Backend, grouping: Grouping
) -> Callable[[Submit], Outcome]:
    return lambda submit: edit(cast(Backend, BatchedBackend(model, submit, grouping)))


def _cancel(edit: EditThread[Any]) -> None:
    """End an edit by an error at every request, and wait until its thread has released everything."""
    while edit.advance(Cancelled("cancelled")) is not None:
        pass
