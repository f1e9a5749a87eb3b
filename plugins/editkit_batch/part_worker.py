"""Work of one process on one part of a job: rows of a file of the plan to images and results."""

from __future__ import annotations

import dataclasses as dc
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from editkit import Cancelled, EditkitError

from .editing import edit_rows, kind_of
from .image_store import ImageStore
from .notes import Notes
from .plan import in_groups, plan_file, read_rows
from .results import RowResult, Staged, read_results, results_file, write_results
from .row_check import PlannedRow
from .storage import Storage

if TYPE_CHECKING:
    from editkit import Result


@dc.dataclass(frozen=True)
class Work:
    """Function that edits one part of a job; it is pickled and the same for all parts."""

    output: str
    run: str
    """Identifies this run of the job among earlier ones."""
    settings: Mapping[str, Any]

    def __call__(self, part: str) -> PartSummary:
        """Edit the rows of a part that have no result yet; never raises for a row."""
        _set_threads(self.settings["threads"])
        return PartWorker(self, part).complete()


@dc.dataclass(frozen=True)
class PartSummary:
    """Numbers of rows of a finished part by status."""

    states: Mapping[str, int]


class PartWorker:
    """The rows of one part and their results.

    A row is done when its result and, of an edit, its image are there; both depend on the row alone, so that editing it
    twice would do no harm.
    """

    def __init__(self, work: Work, part: str) -> None:
        self.storage, self.part, self.settings = Storage(work.output), part, work.settings
        self.images = ImageStore(self.storage, part, work.settings["outputs"])
        self.staged = Staged(self.storage, part)
        self.notes = Notes(self.storage, part, work.run)

    def complete(self) -> PartSummary:
        """Edit the rows that are left and write the results of all."""
        if self.storage.exists(results_file(self.part)):
            return PartSummary(Counter(row["status"] for row in read_results(self.storage, self.part, ["status"])))
        rows = read_rows(self.storage, plan_file(self.part))
        results = self._kept({row.id for row in rows})
        for row in rows:
            if row.id not in results and not row.call:
                results[row.id] = RowResult.failed(row, row.error_type, row.error)
        for group in self._groups([row for row in rows if row.id not in results]):
            results |= self._edit(group)
        ordered = [results[row.id] for row in rows]
        self.images.pack(ordered)
        self.storage.sync()
        write_results(self.storage, self.part, ordered)
        self.staged.clear()
        self.notes.clear()
        return PartSummary(Counter(result.status for result in ordered))

    def _kept(self, ids: set[str]) -> dict[str, RowResult]:
        """Return the results of an earlier run, of edits whose image is there and whole."""
        return {
            result.id: result
            for result in self.staged.read()
            if result.id in ids and (result.status != "ok" or self.images.has(result))
        }

    def _groups(self, rows: Sequence[PlannedRow]) -> Iterator[list[PlannedRow]]:
        """Yield the rows that are edited together: suspects alone, others by model and then by settings."""
        yield from ([row] for row in rows if row.id in self.notes.suspects)
        others = [(kind_of(row), row) for row in rows if row.id not in self.notes.suspects]
        others.sort(key=lambda pair: pair[0])
        for _, pairs in itertools.groupby(others, lambda pair: pair[0][0]):
            yield from in_groups((row for _, row in pairs), self.settings["batch"])

    def _edit(self, rows: Sequence[PlannedRow]) -> dict[str, RowResult]:
        """Return the results of rows by id, stored one by one as they are finished."""
        if rows[0].id in self.notes.crashed:
            text = "its worker ended each time it was edited alone"
            return {rows[0].id: self._store(RowResult.failed(rows[0], "WorkerEnded", text, "crashed"))}
        results: dict[str, RowResult] = {}
        with self.notes.at_work([row.id for row in rows]):
            for place, outcome in edit_rows(rows, self.settings):
                results[rows[place].id] = self._deliver(rows[place], outcome)
        return results

    def _deliver(self, row: PlannedRow, outcome: Result | EditkitError) -> RowResult:
        """Write the image of an edit and its result."""
        if isinstance(outcome, Cancelled):
            raise outcome
        if isinstance(outcome, EditkitError):
            return self._store(RowResult.failed(row, type(outcome).__name__, str(outcome)))
        try:
            data = outcome.encoded(".png")
        except EditkitError as error:
            return self._store(RowResult.failed(row, type(error).__name__, str(error)))
        output = self.images.output(row.id)
        report = dc.replace(outcome.report, output=output)
        result = RowResult(
            row.id,
            row.row,
            row.name,
            "ok",
            output=output,
            sha256=hashlib.sha256(data).hexdigest(),
            seconds=report.seconds,
            network_samples=report.network_samples,
            report=json.dumps(vars(report), default=str),
        )
        # The result is written first: an image is never without one, and not made again for want of it.
        self._store(result)
        self.images.write(row.id, data)
        return result

    def _store(self, result: RowResult) -> RowResult:
        self.staged.write([result])
        return result


def _set_threads(count: int) -> None:
    import torch

    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


def reopen(storage: Storage, part: str, settings: Mapping[str, Any]) -> None:
    """Take back the results of a part, and keep those of its edits for the next worker."""
    results = [RowResult(**row) for row in read_results(storage, part)]
    images, staged = ImageStore(storage, part, settings["outputs"]), Staged(storage, part)
    kept = images.unpack(results)
    if kept:
        staged.write(kept, "kept")
    Notes(storage, part, "").clear()
    storage.remove(results_file(part))
