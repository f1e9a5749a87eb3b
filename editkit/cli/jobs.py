"""One call of a command that makes something: its inputs, where their results go, and the work in between."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import ErrorCollector
from .outputs import STREAM, checked_sheet, save_sheet, stem_of, targets_of, write_result, write_stdout

if TYPE_CHECKING:
    from ..editing.result import Result


INVERSION = (".safetensors",)


@dc.dataclass(frozen=True)
class Job:
    """One input of a command and where its result goes."""

    name: str
    """What the user called the input; empty where nothing goes in."""
    given: Any
    """What the operation takes: a path, a pair of them, bytes from standard input, or nothing."""
    target: Path | None
    """None for standard output."""


@dc.dataclass(frozen=True)
class Invocation:
    """What of a command line is the same for every command that makes something."""

    jobs: Sequence[Job]
    as_json: bool
    sheet: Path | None

    @classmethod
    def plan(
        cls,
        given: Mapping[str, Any],
        operation: str,
        names: Sequence[str],
        endings: Sequence[str],
        more: Sequence[str] = (),
    ) -> Invocation:
        """Decide where everything goes; ``more`` are further files of the command, which stay as they are."""
        if given["json"] and given["output"] == STREAM:
            raise click.UsageError("--json and -o - both want standard output: write the picture to a file")
        if [*names, *more].count(STREAM) > 1:
            raise click.UsageError("standard input '-' can be given once")
        if given["output"] == STREAM and endings == INVERSION:
            raise click.UsageError("an inversion cannot be written to standard output: give a file with -o")
        targets = targets_of(names, given["output"], operation, endings, more)
        sheet = checked_sheet(given.get("sheet"), targets, [*names, *more])
        jobs = [Job(name, read_if_stdin(name), target) for name, target in zip(names, targets, strict=True)]
        return cls(jobs, given["json"], sheet)

    def run(self, prepare: Callable[[Job], Any], start: Callable[[], Callable[[Any], Any]]) -> None:
        """Prepare every input, ``start`` the work if one of them is good, then work; an error in one stops no other.

        Only the first prepared input is kept: others are prepared again when their turn comes, so that memory does not
        grow with their number. Exits with the status of the worst error, after everything that could be done.
        """
        errors = ErrorCollector(len(self.jobs))
        good: list[Job] = []
        first = None
        for job in self.jobs:
            with errors.attempt(job.name):
                prepared = prepare(job)
                first = prepared if not good else first
                good.append(job)
        if good:
            self.work(good, first, prepare, start(), errors)
        if errors.status:
            raise click.exceptions.Exit(errors.status)

    def work(
        self,
        jobs: Sequence[Job],
        first: Any,
        prepare: Callable[[Job], Any],
        execute: Callable[[Any], Any],
        errors: ErrorCollector,
    ) -> None:
        """Make and write one result after the other, and the sheet of all results at the end."""
        results: list[tuple[str, Result]] = []
        for number, job in enumerate(jobs):
            with errors.attempt(job.name):
                outcome = execute(prepare(job) if number else first)
                if job.target is None:
                    write_stdout(outcome)
                else:
                    write_result(outcome, job.target, as_json=self.as_json)
                if self.sheet:
                    results.append((stem_of(job.name, ""), outcome))
        if self.sheet and results:
            save_sheet(self.sheet, results)


def read_if_stdin(name: str | None) -> str | bytes | None:
    """The input by its path, or its bytes where it is standard input, which can be read once only."""
    from ..images.sources import read_source

    return read_source(STREAM, argument="image") if name == STREAM else name or None
