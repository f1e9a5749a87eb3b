"""Rows of any operations, edited in batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch

from ...errors import EditkitError, PluginFailure
from ...inversion.inversion import Inversion
from ...model.backend import Backend
from ...model.loading import loading_arguments, resolve_model
from ...registry.arguments import check_arguments
from ...registry.registry import Registry, installed
from ...sampling.progress import Progress
from ..apply import cancellable
from ..request import Request
from ..results.result import Result
from .lock_step import execute_together
from .row import CheckedRow, EditRow

BATCH = 16
"""Default number of edits that run together."""

WAITING = 8
"""Batches of rows that may wait for others of their kind, without their images."""

Load = Callable[[Any, str], Backend]
"""Function of a row's model and operation that returns the loaded model."""

Value = TypeVar("Value")


@check_arguments()
def edit_rows(
    rows: Iterable[EditRow | Mapping[str, Any]],
    *,
    model: Backend | str | os.PathLike[str] | None = None,
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    batch: int = BATCH,
    exact: bool = True,
    cache: bool = True,
    **options: Any,
) -> Iterator[tuple[int, Result | Inversion | EditkitError]]:
    """Edit rows of any operations and yield the number of each row, from 0, with its Result or its EditkitError.

    A row is an :class:`EditRow`, or a mapping with ``operation`` and, as far as the edit has them, ``image``, ``seed``,
    ``model`` and the operation's parameters by name: ``{"operation": "img2img", "image": "a.png", "strength": 0.5}``.
    ``model`` is that of rows without one; models that are named are loaded with ``device``, ``dtype`` and ``options``,
    which are ``adapters`` and all other arguments of :func:`load_model`. ``invert`` yields an Inversion.

    No row raises: a wrong name, a missing image or a model that fails is the error of its row, and the others go on. An
    exception of the iterator ``rows`` itself is raised after the rows before it are edited.

    ``rows`` is read as far as needed; images are opened in their turn, and ``batch`` rows at most have theirs open. A
    file that has changed since its row was read is the error of its row.
    Rows of one kind (model, operation, steps and other settings) run together and share their network calls, so results
    come in another order than rows of several kinds. Without ``cache`` inversions of earlier edits are neither read nor
    stored.

    With ``exact`` each result has the same bits whatever rows are edited beside it, in any order and with any
    ``batch``: network calls are filled to a number of rows that only the size of the image decides. They may differ
    from those of :func:`apply` by one 8-bit level; a replay has those of the row. Without ``exact`` calls have as many
    rows as there are, which saves time where few rows have images of one size.
    """

    loading = loading_arguments({"device": device, "dtype": dtype, **options}, "edit_rows")

    def load(own: Any, operation: str) -> Backend:
        return resolve_model(model if own is None else own, **loading, operation=operation)

    return edit_rows_by(load, rows, batch=batch, exact=exact, cache=cache)


def edit_rows_by(
    load: Load, rows: Iterable[Any], *, batch: int, exact: bool, cache: bool = True
) -> Iterator[tuple[int, Result | Inversion | EditkitError]]:
    """Edit rows as :func:`edit_rows` does, with the models that ``load`` returns."""
    registry = installed()
    for number, outcome in run_rows(registry, rows, load, batch=batch, exact=exact, cache=cache):
        yield number, _as_error(registry, outcome) if isinstance(outcome, Exception) else outcome


def _as_error(registry: Registry, error: Exception) -> EditkitError:
    """Return an exception of code outside editkit as an EditkitError."""
    if isinstance(error, EditkitError):
        return error
    failure = PluginFailure(f"the edit failed: {registry.describe_failure(error)}")
    failure.__cause__ = error
    return failure


def run_rows(
    registry: Registry,
    rows: Iterable[Any],
    load: Load,
    *,
    batch: int,
    exact: bool,
    progress: Progress | None = None,
    cache: bool = True,
) -> Generator[tuple[int, Any]]:
    """Yield the number and the outcome of each row; an exception of any type is that of its row."""

    def execute_group(requests: Sequence[Request], model: Backend) -> Generator[tuple[int, Any]]:
        return execute_together(registry, requests, model, exact=exact, progress=progress, cache=cache)

    waiting, models = WaitingRows(batch), _Models(load)
    failures: list[Exception] = []
    for number, given in enumerate(_until_failure(rows, failures)):
        row, error = _attempt(lambda: CheckedRow.check(registry, number, given).with_images(registry))  # noqa: B023 (called at once)
        if row is None:
            yield number, error
            continue
        waiting.add(row)
        while waiting.is_due:
            yield from _run_group(registry, waiting.take(), models, execute_group)
    while waiting.rows:
        yield from _run_group(registry, waiting.take(), models, execute_group)
    if failures:
        raise failures[0]


def _until_failure(rows: Iterable[Any], failures: list[Exception]) -> Generator[Any]:
    """Yield rows until the iterator raises, and keep its exception: the rows before it are edited first."""
    try:
        yield from rows
    except Exception as error:
        failures.append(error)


def _run_group(
    registry: Registry,
    rows: Sequence[CheckedRow],
    models: _Models,
    execute_group: Callable[[Sequence[Request], Backend], Iterator[tuple[int, Any]]],
) -> Generator[tuple[int, Any]]:
    """Open the images of rows of one model, and yield the outcome of each row."""
    model, error = models.get(rows[0])
    if model is None:
        yield from ((row.number, error) for row in rows)
        return
    numbers, requests = [], []
    for row in rows:
        request, error = _attempt(lambda: row.open(registry))  # noqa: B023 (called at once)
        if request is None:
            yield row.number, error
        else:
            numbers.append(row.number)
            requests.append(request)
    with cancellable():
        yield from ((numbers[index], outcome) for index, outcome in execute_group(requests, model))


def _attempt(function: Callable[[], Value]) -> tuple[Value | None, Exception | None]:
    """Return the value of a function and None, or None and its exception."""
    try:
        return function(), None
    except Exception as error:
        return None, error


class _Models:
    """Models of rows by their names; one that cannot be loaded is not tried again."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.errors: dict[Hashable, Exception] = {}

    def get(self, row: CheckedRow) -> tuple[Backend | None, Exception | None]:
        """Return the loaded model of a row, or the reason why it cannot be loaded."""
        if row.model in self.errors:
            return None, self.errors[row.model]
        model, error = _attempt(lambda: self.load(row.row.model, row.spec.name))
        if error is not None:
            self.errors[row.model] = error
        return model, error


class WaitingRows:
    """Checked rows that wait until a batch of one kind is complete."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.rows: dict[Hashable, list[CheckedRow]] = {}
        """Rows by their kind."""
        self.images = 0
        """Number of the waiting rows that hold images in memory."""

    def add(self, row: CheckedRow) -> None:
        """Let a row wait."""
        self.rows.setdefault(row.kind, []).append(row)
        self.images += row.holds_images

    @property
    def is_due(self) -> bool:
        """Whether a batch is complete, or too many rows wait."""
        lengths = [len(rows) for rows in self.rows.values()]
        return (
            max(lengths, default=0) >= self.batch or sum(lengths) >= WAITING * self.batch or self.images >= self.batch
        )

    def take(self) -> list[CheckedRow]:
        """Remove and return at most a batch of rows of one model: those of the most frequent kind first."""
        largest = max(self.rows, key=lambda kind: len(self.rows[kind]))
        model = self.rows[largest][0].model
        others = [kind for kind, rows in self.rows.items() if kind != largest and rows[0].model == model]
        taken: list[CheckedRow] = []
        for kind in (largest, *others):
            rows = self.rows.pop(kind)
            room = self.batch - len(taken)
            taken += rows[:room]
            if rows[room:]:
                self.rows[kind] = rows[room:]
        self.images -= sum(row.holds_images for row in taken)
        return taken
