"""Applying one operation to several pictures in one call."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ..errors import InvalidParameter
from ..model.backend import Backend
from ..model.batching import run_in_lock_step
from ..model.execution import ExecutionOptions
from ..model.loading import resolve_model
from ..registry.registry import Registry, installed
from .apply import cancellable, execute
from .request import Request, prepare
from .session import Progress

MOST = 16
"""Edits that go together unless told otherwise."""


def apply_all(
    operation: str,
    images: Iterable[Any],
    *,
    seeds: Sequence[int] | None = None,
    batch: int = MOST,
    model: Backend | str | None = None,
    progress: Progress | None = None,
    cache: bool = True,
    **given: Any,
) -> list[Any]:
    """Apply a registered operation to each of several pictures and return as many Results, in their order.

    All is as with :func:`apply`, whose other arguments it takes, and each picture gets the same ``seed``, or its own of
    ``seeds``. ``batch`` edits at a time go in lock step: what they ask of the network at once is put to it in one call,
    as far as their latents are of one size. That takes as much more memory. Each report counts the calls of its own
    edit alone; its seconds are those of all that went together. Loops of the first of a batch go to ``progress``.

    The same seed gives the same picture whatever the batch, but for rounding: torch adds up in another order for other
    numbers of rows (on a CPU in convolutions of 1 x 1 from 16 rows on, and in some of the autoencoder's from two), by
    which here and there a pixel differs by one 8-bit level. With ``batch=1`` each is bit for bit what :func:`apply`
    gives. Where one edit fails its error is raised and the others are stopped. Raises an EditkitError before the model
    is loaded where anything given is wrong.
    """
    if batch < 1:
        raise InvalidParameter(f"batch={batch} is not allowed: at least 1")
    registry = installed()
    running, params = split_options(given)
    requests = [prepare(registry, operation, image, one) for image, one in pair_with_seeds(images, params, seeds)]
    backend = resolve_model(model, **running, operation=operation)
    results: list[Any] = []
    with cancellable():
        for group in batches(requests, batch):
            results += run_group(registry, group, backend, progress, cache)
    return results


def split_options(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What says how the model is loaded and run, and the operation's own parameters."""
    params = dict(given)
    ways = {way.name: params.pop(way.name) for way in dc.fields(ExecutionOptions) if way.name in params}
    loading = {name: params.pop(name, usual) for name, usual in (("device", None), ("dtype", None), ("adapters", ()))}
    return {**loading, "how": ExecutionOptions(**ways)}, params


def pair_with_seeds(
    images: Iterable[Any], params: dict[str, Any], seeds: Sequence[int] | None
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Each picture with its parameters; raises InvalidParameter where there are not as many seeds."""
    pictures = list(images)
    if seeds is None:
        return iter([(image, params) for image in pictures])
    if len(seeds) != len(pictures):
        raise InvalidParameter(f"seeds: {len(seeds)} are given for {len(pictures)} pictures: give one for each")
    return iter([(image, {**params, "seed": seed}) for image, seed in zip(pictures, seeds, strict=True)])


def batches(requests: Sequence[Request], size: int) -> Iterator[tuple[Request, ...]]:
    rest = iter(requests)
    while group := tuple(itertools.islice(rest, size)):
        yield group


def run_group(
    registry: Registry, requests: Sequence[Request], model: Backend, progress: Progress | None, cache: bool
) -> list[Any]:
    """The results of a batch, in its order; the first error is raised."""
    if len(requests) == 1:
        return [execute(registry, requests[0], model, progress=progress, cache=cache)]
    results: dict[int, Any] = {}
    edits = [bind_request(registry, one, None if number else progress, cache) for number, one in enumerate(requests)]
    with contextlib.closing(run_in_lock_step(model, edits)) as outcomes:
        for number, outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            results[number] = outcome
    return [results[number] for number in range(len(requests))]


def bind_request(
    registry: Registry, request: Request, progress: Progress | None, cache: bool
) -> Callable[[Backend], Any]:
    return lambda model: execute(registry, request, model, progress=progress, cache=cache)
