"""Execute prepared calls of one model together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from typing import Any

from ...errors import Cancelled
from ...model.backend import Backend
from ...model.batching import run_in_lock_step
from ...model.calls.combined import evaluate_all
from ...model.calls.filled import FilledCalls
from ...registry.registry import Registry
from ...sampling.progress import Progress, unwatched_steps, with_watcher
from ..apply import execute
from ..request import Request
from ..steps.tracking import steps_together


def execute_together(
    registry: Registry,
    requests: Sequence[Request],
    model: Backend,
    *,
    exact: bool,
    progress: Progress | None = None,
    cache: bool = True,
) -> Generator[tuple[int, Any]]:
    """Yield the number and the outcome of each request as it ends: a Result, an Inversion or its exception.

    With ``exact``, the bits of an outcome do not depend on the other requests. Without, one request alone is executed
    as :func:`execute` does. ``progress`` shows the loops of the last. Raises Cancelled on an interrupt.
    """
    if len(requests) == 1 and not exact:
        try:
            yield 0, execute(registry, requests[0], model, progress=progress, cache=cache)
        except Cancelled:
            raise
        except Exception as error:
            yield 0, error
        return
    shown = steps_together(with_watcher(progress), len(requests))
    edits = [bind_request(registry, *one, cache) for one in zip(requests, shown, strict=True)]
    with contextlib.closing(run_in_lock_step(model, edits, FilledCalls() if exact else evaluate_all)) as outcomes:
        for number, outcome in outcomes:
            if isinstance(outcome, Cancelled) or (
                isinstance(outcome, BaseException) and not isinstance(outcome, Exception)
            ):
                raise outcome
            yield number, outcome


def execute_exactly(
    registry: Registry, request: Request, model: Backend, *, progress: Progress | None = None, cache: bool = True
) -> Any:
    """Execute a request with the bits that it has among others; raises as :func:`execute` does."""
    ((_, outcome),) = execute_together(registry, [request], model, exact=True, progress=progress, cache=cache)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def bind_request(
    registry: Registry, request: Request, progress: Progress | None, cache: bool
) -> Callable[[Backend], Any]:
    """Return a function of the model that executes a request, whose steps ``progress`` alone is shown."""

    def edit(model: Backend) -> Any:
        with unwatched_steps():
            return execute(registry, request, model, progress=progress, cache=cache)

    return edit
