"""The command ``batch``: plan a manifest, hand out its parts, and sum up the results."""

from __future__ import annotations

import dataclasses as dc
import os
import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from editkit import (
    Adapter,
    Cancelled,
    EditkitError,
    EngineOptions,
    InvalidParameter,
    LoadingParams,
    Table,
    WorkerEnded,
    Workers,
    build_engine,
)

from . import BatchParams, share_of
from .changes import find_changes
from .extras import require_extra
from .image_store import ImageStore
from .manifest import Manifest
from .model_settings import SAME_BITS, with_whole_paths
from .part_worker import PartSummary, Work, reopen
from .plan import JOB, Job, check_same_settings, make_plan, plan_file, read_job, read_rows
from .results import RowResult, Staged, Totals, read_results, results_file
from .storage import Storage

_LOADING = tuple(LoadingParams.model_fields)
_SETTINGS = ("model", "adapter", "device", "dtype", *_LOADING, "batch", "exact", "threads", "outputs", "rows_per_file")
_MAY_CHANGE = {"device", "batch", *SAME_BITS}
"""Settings that a later run may change: no file and no image depends on them, or the machines are others."""
_MOST_FAILURES = 3
"""Times that a part may raise an exception before it is left undone."""
_IMAGE = ("id", "row", "name", "status", "sha256")
_SUMMARY = ("status", "error_type", "error", "row", "name", "seconds", "network_samples")


class JobFailed(EditkitError):
    """A batch could not be planned or finished; its exit status differs from that of rows that failed."""


def batch(params: BatchParams) -> Table:
    """Run a job, or go on with it, and return the numbers of its rows by status.

    The exit status of the table is 2 if rows failed. Raises JobFailed, with exit status 1, if the job itself did.
    """
    try:
        return _run(params)
    except (Cancelled, JobFailed):
        raise
    except EditkitError as error:
        raise JobFailed(str(error)) from error


def _run(params: BatchParams) -> Table:
    require_extra("pyarrow", "batch")
    if params.retry_errors and not params.resume:
        raise InvalidParameter("--retry-errors goes on with a job and --no-resume refuses to: leave one out")
    if params.retry_errors and params.part is not None:
        raise InvalidParameter(
            "retry_errors plans the whole job: run it with --dry-run first, then each --part without it"
        )
    start = time.perf_counter()
    storage = _open_output(params)
    job = _plan(params, storage, Manifest(params.manifest, storage.root))
    if not job.rows:
        click.echo(f"Warning: manifest {params.manifest!r} has no rows", err=True)
    planned = time.perf_counter() - start
    parts = job.parts
    if params.part is not None:
        number, count = share_of(params.part)
        parts = parts[number - 1 :: count]
    if params.dry_run:
        return _planned_table(job, storage, planned)
    own = {**params.model_dump(include=_MAY_CHANGE), "planned_variant": job.variant}
    work = Work(storage.url, secrets.token_hex(4), {**job.settings, **own})
    changed = _name_changes(storage, parts, job)
    _reopen_incomplete(storage, parts, job)
    progress = Progress(storage, parts, work)
    if parts and not progress.waiting:
        click.echo(
            "Nothing to do: an earlier run finished all rows (--retry-errors edits images that have changed since)",
            err=True,
        )
    if progress.waiting:
        with build_engine(params.engine).start(EngineOptions(params.workers, params.address, params.gpus)) as workers:
            progress.run(workers)
    _remove_empty_folders(job, storage)
    times = {"plan_seconds": planned, "seconds": time.perf_counter() - start}
    return _table(job, storage, progress, times, changed)


def _open_output(params: BatchParams) -> Storage:
    storage = Storage(params.output if "://" in params.output else str(Path(params.output).absolute()))
    if storage.in_memory and params.workers != 0:
        raise InvalidParameter(
            f"output {params.output!r} is in the memory of this process, which workers do not see: choose a folder"
        )
    return storage


def _plan(params: BatchParams, storage: Storage, manifest: Manifest) -> Job:
    """Return the job in the output folder, planned now if it is not there or if rows that failed are to be repeated."""
    settings = _settings(params)
    job = read_job(storage)
    if job is None:
        return make_plan(storage, manifest, settings)
    if not params.resume:
        raise InvalidParameter(
            f"{storage.url!r} has a job already: choose another output folder, or leave --no-resume out to go on"
        )
    given = {name: settings[name] for name in _SETTINGS if name in params.model_fields_set and name not in _MAY_CHANGE}
    check_same_settings(job, given, storage.url)
    if params.retry_errors:
        return _plan_again(storage, manifest, job)
    if job.manifest != manifest.digest():
        raise InvalidParameter(
            f"{storage.url!r} has the job of another manifest: choose another output folder, or give --retry-errors to "
            "plan again"
        )
    return job


def _plan_again(storage: Storage, manifest: Manifest, job: Job) -> Job:
    """Plan a job again, and keep the results of its edits alone.

    Rows may have other places: the manifest was changed, or a row that could not be read is now equal to another.
    """
    for part in job.parts:
        rows = read_results(storage, part, ["status"])
        if any(row["status"] != "ok" for row in rows):
            reopen(storage, part, job.settings)
    planned = make_plan(storage, manifest, job.settings)
    for part in job.parts:
        if part not in planned.parts:
            storage.remove(plan_file(part))
            storage.remove(results_file(part))
        elif storage.exists(results_file(part)):
            rows = read_results(storage, part, ["id"])
            if [row["id"] for row in rows] != [row.id for row in read_rows(storage, plan_file(part))]:
                reopen(storage, part, job.settings)
    return planned


def _reopen_incomplete(storage: Storage, parts: Sequence[str], job: Job) -> None:
    """Take back the results of parts whose images were removed or changed since, so that these are edited again.

    On a file system that is not local, looking for every image would take too long.
    """
    for part in parts if storage.local else ():
        images = ImageStore(storage, part, job.settings["outputs"])
        finished = storage.changed(results_file(part))
        if finished is None:
            continue
        rows = [RowResult(**row) for row in read_results(storage, part, _IMAGE)]
        if not images.are_whole(rows, finished):
            click.echo(f"Images of part {part} are missing or damaged, and are edited again", err=True)
            reopen(storage, part, job.settings)


def _name_changes(storage: Storage, parts: Sequence[str], job: Job) -> int:
    """Return the number of rows with an image, a file or a model that changed since the plan, and say so."""
    planned = storage.changed(JOB) if storage.local else None
    changed = [] if planned is None else find_changes(storage, parts, job, planned)
    if changed:
        click.echo(
            f"Warning: {len(changed)} rows have an image, a file or a model that changed since the job was planned, "
            f"such as {changed[0]!r}: their results are of the earlier one; --retry-errors edits these rows again",
            err=True,
        )
    return len(changed)


def _settings(params: BatchParams) -> dict[str, Any]:
    """Return the options on which the bytes or the files of a job depend, as JSON has them."""
    settings = params.model_dump(mode="json", include=set(_SETTINGS)) | with_whole_paths(params.loading)
    adapters = [Adapter.parse(call) for call in params.adapter]
    settings["adapter"] = [f"{adapter.file.absolute()}:{adapter.scale!r}" for adapter in adapters]
    environment = os.environ.get("OMP_NUM_THREADS", "")
    share = max(1, (os.cpu_count() or 1) // max(1, params.workers or 1))
    settings["threads"] = params.threads or (int(environment) if environment.isdecimal() else share)
    return settings


class Progress:
    """Parts of a job as they are finished; a part that fails is handed out again as long as that helps."""

    def __init__(self, storage: Storage, parts: Sequence[str], work: Work) -> None:
        self.storage, self.parts, self.work = storage, parts, work
        done = set(storage.names("results"))
        self.waiting = [part for part in parts if f"{part}.parquet" not in done]
        self.finished = len(parts) - len(self.waiting)
        self.states: Counter[str] = Counter()
        """Rows of the parts that were finished in this run, by status."""
        self.failed: dict[str, Exception] = {}
        """Parts that were given up, with their last exception."""
        self._failures: Counter[str] = Counter()
        self._ends: Counter[tuple[str, int]] = Counter()
        """Ended workers by part and number of its rows that were finished."""

    def run(self, workers: Workers) -> None:
        """Hand out all parts, and those that failed again."""
        while self.waiting:
            again: list[str] = []
            for part, outcome in workers.run(self.work, self.waiting):
                if isinstance(outcome, Cancelled):
                    raise outcome  # an interrupt is of the job, also if its rows are edited in this process
                if isinstance(outcome, PartSummary):
                    self._report(outcome)
                elif self._may_repeat(part, outcome):
                    again.append(part)
                else:
                    self.failed[part] = outcome
                    reason = " ".join(str(outcome).split())  # those of a cluster hold tracebacks
                    click.echo(f"Error: part {part} was given up: {reason[-500:]}", err=True)
            self.waiting = again

    def _report(self, summary: PartSummary) -> None:
        self.finished += 1
        self.states.update(summary.states)
        states = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items()))
        click.echo(f"{self.finished} of {len(self.parts)} parts: {states}", err=True)

    def _may_repeat(self, part: str, error: Exception) -> bool:
        """Return whether a part is worth another try.

        An ended worker names the rows at work, and the next finds the cause among them: in the worst case all of them,
        each by two more ends. More ends without a finished row have another cause.
        """
        if isinstance(error, WorkerEnded):
            key = part, Staged(self.storage, part).count()
            self._ends[key] += 1
            return self._ends[key] <= 2 * int(self.work.settings["batch"]) + 1
        self._failures[part] += 1
        return self._failures[part] < _MOST_FAILURES


def _planned_table(job: Job, storage: Storage, seconds: float) -> Table:
    valid = job.rows - job.duplicates - job.invalid
    rows = [{"status": "valid", "count": valid, "error": None, "first_row": None, "example": None}]
    totals = Totals()
    for part in job.parts if job.invalid else ():
        totals.add(_invalid_rows(storage, part))
    rows += [_failed_row(kind, count, totals.first[kind]) for kind, count in sorted(totals.errors.items())]
    about = {"total": job.rows, "states": {"valid": valid, "error": job.invalid}, "duplicates": job.duplicates}
    about |= {"parts": job.files, "plan_seconds": round(seconds, 3), "output": storage.url}
    return Table(rows, about, exit_status=2 if job.invalid else 0)


def _invalid_rows(storage: Storage, part: str) -> list[dict[str, Any]]:
    rows = [row for row in read_rows(storage, plan_file(part)) if not row.call]
    return [dc.asdict(RowResult.failed(row, row.error_type, row.error)) for row in rows]


def _table(job: Job, storage: Storage, progress: Progress, times: Mapping[str, float], changed: int) -> Table:
    """Return the rows by status and kind of error, and the cost of the run."""
    totals = Totals()
    for part in progress.parts:
        totals.add(read_results(storage, part, _SUMMARY))
    ok = {"status": "ok", "count": totals.states["ok"], "error": None, "first_row": None, "example": None}
    failed = [_failed_row(kind, count, totals.first[kind]) for kind, count in sorted(totals.errors.items())]
    about = {
        "total": sum(totals.states.values()),
        "states": dict(sorted(totals.states.items())),
        "changed": changed,
        "duplicates": job.duplicates if len(progress.parts) == job.files else None,
        "parts": len(progress.parts),
        "parts_given_up": len(progress.failed),
        "network_samples": totals.samples,
        "edit_seconds": round(totals.seconds, 3),
        **{name: round(seconds, 3) for name, seconds in times.items()},
        "output": storage.url,
    }
    return Table([ok, *failed], about, exit_status=1 if progress.failed else 2 if failed or changed else 0)


def _failed_row(kind: tuple[str, str], count: int, first: Mapping[str, Any]) -> dict[str, Any]:
    status, error = kind
    return {"status": status, "count": count, "error": error, "first_row": first["row"], "example": first["error"]}


def _remove_empty_folders(job: Job, storage: Storage) -> None:
    """Remove the folders of unfinished work, when there is none."""
    if len(storage.names("results")) == job.files:
        storage.remove_folder("staged")
        storage.remove_folder("notes")
