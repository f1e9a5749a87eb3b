"""Apply one operation to several images in one call."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ...errors import InvalidParameter
from ...model.backend import Backend
from ...model.loading import resolve_model, split_options
from ...registry.arguments import check_arguments
from ...registry.registry import Registry, installed
from ...sampling.progress import Progress
from .row import CheckedRow, EditRow
from .rows import BATCH, run_rows


@check_arguments()
def apply_all(
    operation: str,
    images: Iterable[Any],
    *,
    seeds: Sequence[int] | None = None,
    each: Sequence[Mapping[str, Any]] | None = None,
    batch: int = BATCH,
    exact: bool = True,
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
    ``progress`` shows the loops of the last edit of a batch.

    With ``exact`` a result has the same bits whatever the other images and the batch, as of :func:`edit_rows`, which
    edits rows of several operations and goes on after an error. Without, the batch size changes the order of
    floating-point sums in torch, so a pixel may differ by one 8-bit level, and with ``batch=1`` each result equals that
    of :func:`apply` bit for bit. If one edit fails, its error is raised and the others are cancelled. Raises an
    EditkitError before the model is loaded if an argument is wrong.
    """
    registry = installed()
    options, params = split_options(given)
    pairs = _with_own_params(list(pair_with_seeds(images, params, seeds)), each)
    rows = [_check(registry, number, EditRow(operation, *pair)) for number, pair in enumerate(pairs)]
    backend = resolve_model(model, **options, operation=operation)
    outcomes = run_rows(registry, rows, lambda *_: backend, batch=batch, exact=exact, progress=progress, cache=cache)
    results: dict[int, Any] = {}
    with contextlib.closing(outcomes):
        for number, outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
            results[number] = outcome
    return [results[number] for number in range(len(rows))]


def _check(registry: Registry, number: int, row: EditRow) -> CheckedRow:
    """Check a row and its images, which are opened again in their turn if the row has their paths."""
    checked = CheckedRow.check(registry, number, row).with_images(registry)
    checked.open(registry)
    return checked


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
