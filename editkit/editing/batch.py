"""Apply one operation to several images in one call."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import InvalidParameter
from ..model.backend import Backend
from ..model.batching import run_in_lock_step
from ..model.execution import ExecutionOptions
from ..model.loading import resolve_model
from ..model.options import LoadingOptions
from ..registry.arguments import check_arguments
from ..registry.registry import Registry, installed
from ..sampling.progress import Progress
from .apply import cancellable, execute
from .request import Request, prepare

MOST = 16
"""Default number of edits that run together."""


@check_arguments()
def apply_all(
    operation: str,
    images: Iterable[Any],
    *,
    seeds: Sequence[int] | None = None,
    each: Sequence[Mapping[str, Any]] | None = None,
    batch: int = MOST,
    model: Backend | str | None = None,
    progress: Progress | None = None,
    cache: bool = True,
    **given: Any,
) -> list[Any]:
    """Apply a registered operation to each of several images and return their Results in order.

    The other arguments are those of :func:`apply`. All images get the same parameters, or each its own ``seed`` of
    ``seeds`` and further ones of ``each``: several targets of one saved inversion are
    ``apply_all("prompt-edit", [inversion] * 2, each=[{"target": "a pear"}, {"target": "a lemon"}])``.
    ``batch`` edits at a time run in lock step: requests to the network whose latents have one size become one call.
    Memory grows accordingly. Each report counts the calls of its own edit; its seconds are those of its batch.
    ``progress`` shows the loops of the first edit of a batch.

    The batch size changes the order of floating-point sums in torch, so a pixel may differ by one 8-bit level. With
    ``batch=1`` each result equals that of :func:`apply` bit for bit. If one edit fails, its error is raised and the
    others are cancelled. Raises an EditkitError before the model is loaded if an argument is wrong.
    """
    registry = installed()
    options, params = split_options(given)
    pairs = _with_own_params(list(pair_with_seeds(images, params, seeds)), each)
    requests = [prepare(registry, operation, image, one) for image, one in pairs]
    backend = resolve_model(model, **options, operation=operation)
    results: list[Any] = []
    with cancellable():
        for group in batches(requests, min(batch, len(requests))):
            results += _run_group(registry, group, backend, progress, cache)
    return results


def split_options(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split arguments into those of :func:`resolve_model` and the operation's parameters."""
    params = dict(given)
    flags = {field.name: params.pop(field.name) for field in dc.fields(ExecutionOptions) if field.name in params}
    chosen = {field.name: params.pop(field.name) for field in dc.fields(LoadingOptions) if field.name in params}
    defaults: dict[str, Any] = {"device": None, "dtype": None, "adapters": ()}
    loading = {name: params.pop(name, default) for name, default in defaults.items()}
    return {**loading, "execution": ExecutionOptions(**flags), "options": LoadingOptions.of(**chosen)}, params


def pair_with_seeds(
    images: Iterable[Any], params: dict[str, Any], seeds: Sequence[int] | None
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield each image with its parameters; raises InvalidParameter for another number of seeds."""
    sources = list(images)
    if seeds is None:
        return iter([(image, params) for image in sources])
    if params.get("seed") is not None:
        raise InvalidParameter("seed and seeds are both given: leave one of them out")
    if len(seeds) != len(sources):
        raise InvalidParameter(
            f"seeds: {len(seeds)} are given for {len(sources)} images: give one for each, and repeat an image for "
            "variants of it"
        )
    return iter([(image, {**params, "seed": seed}) for image, seed in zip(sources, seeds, strict=True)])


def _with_own_params(
    pairs: Sequence[tuple[Any, dict[str, Any]]], each: Sequence[Mapping[str, Any]] | None
) -> Sequence[tuple[Any, dict[str, Any]]]:
    """Return images with parameters to which those of ``each`` are added; raises InvalidParameter for another number of
    them, and for a parameter that all images have already.
    """
    if each is None:
        return pairs
    if len(each) != len(pairs):
        raise InvalidParameter(
            f"each: {len(each)} are given for {len(pairs)} images: give one for each, and repeat an image for variants "
            "of it"
        )
    for (_, shared), own in zip(pairs, each, strict=True):
        twice = sorted(name for name in own if shared.get(name) is not None)
        if twice:
            raise InvalidParameter(f"{twice[0]} is given in each and for all images: leave one of them out")
    return [(image, {**shared, **own}) for (image, shared), own in zip(pairs, each, strict=True)]


def batches(requests: Sequence[Request], size: int) -> Iterator[tuple[Request, ...]]:
    """Yield groups of at most ``size`` requests in order."""
    remaining = iter(requests)
    while group := tuple(itertools.islice(remaining, size)):
        yield group


def _run_group(
    registry: Registry, requests: Sequence[Request], model: Backend, progress: Progress | None, cache: bool
) -> list[Any]:
    """Return the results of a batch in order; raises the first error."""
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
    """Return a function of the model that executes a request."""
    return lambda model: execute(registry, request, model, progress=progress, cache=cache)
