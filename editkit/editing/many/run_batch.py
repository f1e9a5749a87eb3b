"""Rows of any operations, edited by the workers of an engine."""

from __future__ import annotations

import base64
import dataclasses as dc
import os
import pickle
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from ...errors import EditkitError, InvalidParameter
from ...inversion.inversion import Inversion
from ...libraries import reason_of
from ...model.backend import Backend
from ...model.loading import loading_arguments, resolve_model
from ...registry.arguments import check_arguments
from ...registry.engines import EngineOptions, WorkerEnded, Workers
from ...registry.listing import build_engine
from ..results.result import Result
from .row import EditRow
from .rows import BATCH, edit_rows, edit_rows_by

Outcome = Result | Inversion | EditkitError


@check_arguments()
def run_batch(
    rows: Iterable[EditRow | Mapping[str, Any]],
    *,
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
    gpus: float | None = None,
    model: Backend | str | os.PathLike[str] | None = None,
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    batch: int = BATCH,
    exact: bool = True,
    **options: Any,
) -> Iterator[Outcome]:
    """Edit rows by the workers of an engine, and yield the outcome of each row in the order of the rows.

    Rows, outcomes and the arguments from ``model`` on are those of :func:`edit_rows`, and with ``exact`` every engine
    gives the same bits. ``engine`` is a registered one: ``local`` edits in this process, or in as many as ``workers``;
    the others start ``workers`` or connect to the cluster at ``address``, and ``gpus`` is the share of a GPU of each. A
    row that ends its worker has WorkerEnded as its outcome. Processes of this machine import the script that starts
    them, so there the call stands under ``if __name__ == "__main__":``.

    Rows for other processes are pickled in parts of ``batch`` rows, so all of them are read first, and models are given
    by name. A job with more rows than fit into memory, or that has to go on after an interruption, is one for the
    command ``batch``. Raises UnknownName for an engine, and InvalidParameter for an option that it has no use for and
    for a model in memory beside other processes.
    """
    if engine == "local" and not workers:
        EngineOptions(address=address, gpus=gpus).refuse_cluster("local")
        return _in_order(edit_rows(rows, model=model, device=device, dtype=dtype, batch=batch, exact=exact, **options))
    if not isinstance(model, str | os.PathLike | None):
        raise InvalidParameter(f"model {model.name!r} is in memory and cannot go to other processes: give its name")
    loading = loading_arguments({"device": device, "dtype": dtype, **options}, "run_batch")
    work = _PartWork(None if model is None else os.fspath(model), loading, batch, exact)
    own = EngineOptions(workers=workers, address=address, gpus=gpus)
    return _in_order(_run_parts(list(rows), engine, own, work))


@dc.dataclass(frozen=True)
class _PartWork:
    """Edits the rows of a part in a worker, which keeps its latest models."""

    model: str | None
    loading: Mapping[str, Any]
    """Arguments of resolve_model."""
    batch: int
    exact: bool

    def __call__(self, part: str) -> list[tuple[int, Outcome]]:
        """Return the number of each row with its outcome."""
        first, rows = _read_part(part)
        outcomes = edit_rows_by(self._load, rows, batch=self.batch, exact=self.exact)
        return [(first + number, outcome) for number, outcome in outcomes]

    def _load(self, own: Any, operation: str) -> Backend:
        return resolve_model(self.model if own is None else own, **self.loading, operation=operation)


def _write_part(first: int, rows: Sequence[Any]) -> str:
    """Return rows, the first of which has the number ``first``, as the text that engines hand to workers."""
    try:
        content = pickle.dumps((first, rows))
    except Exception as error:  # of the row's own values
        raise InvalidParameter(
            f"rows {first} to {first + len(rows) - 1} cannot go to other processes ({reason_of(error)}): give paths of "
            "images and names of models"
        ) from error
    return base64.b64encode(content).decode("ascii")


def _read_part(part: str) -> tuple[int, list[Any]]:
    first, rows = pickle.loads(base64.b64decode(part))  # it comes from the process that started this worker
    return first, rows


def _run_parts(
    rows: Sequence[Any], engine: str, options: EngineOptions, work: _PartWork
) -> Generator[tuple[int, Outcome]]:
    """Yield the number of each row with its outcome; the rows of a part whose worker ended are run one by one."""
    parts = [_write_part(first, rows[first : first + work.batch]) for first in range(0, len(rows), work.batch)]
    with build_engine(engine).start(options) as running:
        ended: list[str] = []
        for part, outcome in running.run(work, parts):
            if isinstance(outcome, WorkerEnded):
                ended.append(part)
            else:
                yield from _numbered(part, outcome)
        for part in ended:
            first, own = _read_part(part)
            for number, row in enumerate(own, first):
                yield from _run_alone(running, work, _write_part(number, [row]))


def _run_alone(running: Workers, work: _PartWork, part: str) -> Generator[tuple[int, Outcome]]:
    """Yield the outcome of a part that no other part runs beside, so that an ended worker is its own fault."""
    for _, outcome in running.run(work, [part]):
        yield from _numbered(part, outcome)


def _numbered(part: str, outcome: Any) -> list[tuple[int, Outcome]]:
    """Return the outcomes of the rows of a part; an exception in place of them is that of every row."""
    if not isinstance(outcome, EditkitError):
        return list(outcome)
    first, rows = _read_part(part)
    return [(number, outcome) for number in range(first, first + len(rows))]


def _in_order(outcomes: Iterable[tuple[int, Outcome]]) -> Generator[Outcome]:
    """Yield outcomes in the order of their numbers, as soon as all before them have come."""
    early: dict[int, Outcome] = {}
    due = 0
    for number, outcome in outcomes:
        early[number] = outcome
        while due in early:
            yield early.pop(due)
            due += 1
