"""Run the jobs of a command: prepare every input, process the valid ones, deliver results and errors."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import functools
import hashlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from ..errors import Cancelled, MissingCapability
from ..sampling.params import SEED_WITHOUT_NOISE
from .errors import ErrorCollector
from .jobs import Invocation, Job
from .many.lines import Count, OutputLines
from .outputs.sheets import Shown, save_sheet
from .outputs.writing import save_masks, save_result, write_stdout


@dc.dataclass
class Prepared:
    """Job whose input is valid."""

    job: Job
    prepare: Callable[[Job], Any]
    request: Any = None
    """The prepared input, of the first job only."""

    def open(self) -> Any:
        """Return the prepared input, which is not kept."""
        request, self.request = self.request, None
        return self.prepare(self.job) if request is None else request


Execute = Callable[[Sequence[Prepared]], Generator[tuple[int, Any]]]
"""Function that yields the number and the outcome of each job, or its exception, as it ends."""


def one_by_one(execute: Callable[[Any], Any]) -> Execute:
    """Return a function that processes one input after another."""

    def execute_all(jobs: Sequence[Prepared]) -> Generator[tuple[int, Any]]:
        for number, job in enumerate(jobs):
            try:
                outcome = execute(job.open())
            except Cancelled:
                raise
            except Exception as error:
                outcome = error
            yield number, outcome

    return execute_all


def run_jobs(invocation: Invocation, prepare: Callable[[Job], Any], start: Callable[[], Execute]) -> None:
    """Prepare every input, load the models with ``start`` if an input is valid, then process the valid ones.

    An error in one input does not stop the others. Only the first prepared input is kept; the others are prepared
    again in their turn, since memory must not grow with their number. Exits with the status of the worst error
    after all inputs.
    """
    delivery = Delivery(invocation)
    try:
        valid = _prepare_all(invocation, prepare, delivery)
        if valid:
            execute = start()
            done = len(invocation.jobs) - len(valid)
            delivery.count = Count(len(invocation.jobs), done, min(invocation.batch, len(valid)))
            with contextlib.closing(execute(valid)) as outcomes:
                for index, outcome in outcomes:
                    delivery.report_outcome(valid[index].job, outcome)
    except BrokenPipeError:
        raise
    except BaseException as error:
        delivery.end(error)
        raise
    if invocation.sheet and delivery.results:
        with invocation.place("sheet", invocation.sheet) as path:
            save_sheet(path, delivery.sheet_rows())
    if delivery.errors.status:
        raise click.exceptions.Exit(delivery.errors.status)


def _prepare_all(invocation: Invocation, prepare: Callable[[Job], Any], delivery: Delivery) -> list[Prepared]:
    """Return the jobs whose input is valid; the others are reported, as are those to skip."""
    valid: list[Prepared] = []
    for job in invocation.jobs:
        if invocation.skip and job.target is not None and os.path.lexists(job.target):
            click.echo(f"Skipped: {str(job.target)!r} exists", err=True)
            delivery.lines.skipped(job.place, job.name, job.target)
            continue
        with delivery.attempt(job):
            request = prepare(job)
            valid.append(Prepared(job, prepare, None if valid else request))
    return valid


class Delivery:
    """Results and errors of the jobs of an invocation so far."""

    def __init__(self, invocation: Invocation) -> None:
        self.invocation = invocation
        self.errors = ErrorCollector(len(invocation.jobs))
        self.lines = OutputLines(as_json=invocation.as_json)
        self.count = Count(len(invocation.jobs))
        self.results: dict[int, Shown] = {}
        """Results for the contact sheet by the place of their job."""
        self.seen: set[tuple[int, bytes]] = set()
        """Inputs and digests of the results of variants."""

    @contextlib.contextmanager
    def attempt(self, job: Job) -> Iterator[None]:
        """Run the block for a job; an error is reported if there are other jobs, else raised."""
        with self.errors.attempt(job.name):
            try:
                yield
            except (Cancelled, MissingCapability, BrokenPipeError):
                raise  # of all jobs
            except Exception as error:
                self.lines.failed(job.place, job.name, error)
                raise

    def report_outcome(self, job: Job, outcome: Any) -> None:
        """Write the result of a job, or report its exception."""
        with self.attempt(job):
            if isinstance(outcome, Exception):
                raise outcome
            self._write(job, outcome)
        self.count.add()

    def _write(self, job: Job, outcome: Any) -> None:
        if job.variant.settings:
            self._compare_variant(job, outcome)
        if job.target is None:
            write_stdout(outcome, self.invocation.suffix, self.invocation.encoding)
        else:
            self._save(job, job.target, outcome)
        save_masks(outcome, job.masks, functools.partial(self.invocation.place, "mask_out"))
        if self.invocation.sheet:
            self.results[job.place] = Shown(job.stem, job.stem + job.variant.label, outcome)

    def _save(self, job: Job, target: Path, outcome: Any) -> None:
        with self.invocation.place("output", target) as path:
            report = save_result(outcome, path, self.invocation.encoding)
        self.lines.written(job.place, job.name, path, report)

    def end(self, error: BaseException) -> None:
        """Print the lines that wait, and that of ``error`` for each job without a line."""
        if isinstance(error, (Cancelled, MissingCapability)):
            for job in self.invocation.jobs:
                if not self.lines.is_added(job.place):
                    self.lines.failed(job.place, job.name, error)
        self.lines.print_rest()

    def sheet_rows(self) -> list[list[Shown]]:
        """Return the results in rows: those of one input that differ by the values of the last option alone."""
        rows: dict[Any, list[Shown]] = {}
        for job in self.invocation.jobs:
            if job.place in self.results:
                key = job.number, tuple(map(str, list(job.variant.settings.values())[:-1]))
                rows.setdefault(key, []).append(self.results[job.place])
        return list(rows.values())

    def _compare_variant(self, job: Job, outcome: Any) -> None:
        """Warn if another variant of the input has the same pixels."""
        from ..editing.results.result import Result

        if not isinstance(outcome, Result):
            return
        variant = job.number, hashlib.sha256(outcome.image.tobytes()).digest()
        if variant in self.seen:
            own = job.variant
            warning = f"{own} gives the same image as another variant"
            if "seed" in own.settings:
                warning += f": {SEED_WITHOUT_NOISE}"
            outcome.report = dc.replace(outcome.report, warnings=(*outcome.report.warnings, warning))
        self.seen.add(variant)
