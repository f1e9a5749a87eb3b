"""One invocation of a command that produces results: inputs, output files, and the loop over them."""

from __future__ import annotations

import dataclasses as dc
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import ErrorCollector
from .outputs import save_sheet, write_result, write_stdout
from .targets import STREAM, OutputPlan, encoding_of, plan_sheet, stem_of

if TYPE_CHECKING:
    from ..editing.result import Result
    from ..images.stored.encoding import Encoding


INVERSION_SUFFIXES = (".safetensors",)


@dc.dataclass(frozen=True)
class Job:
    """One input of a command and the output file of its result."""

    name: str
    """Name of the input on the command line; empty for a command without input."""
    source: Any
    """Input of the operation: a path, bytes from standard input, or None."""
    target: Path | None
    """Output file; None for standard output."""


@dc.dataclass(frozen=True)
class Invocation:
    """The jobs of one command line, and the options that all of them share."""

    jobs: Sequence[Job]
    as_json: bool
    sheet: Path | None
    encoding: Encoding
    suffix: str
    """Suffix of the format for standard output."""
    skip: bool = False
    """Whether jobs whose output file exists are left out."""

    @classmethod
    def plan(
        cls,
        options: Mapping[str, Any],
        operation: str,
        names: Sequence[str],
        suffixes: Sequence[str],
        other_files: Sequence[str] = (),
        *,
        into_folder: bool = False,
    ) -> Invocation:
        """Choose and check all output files; ``other_files`` are further files that the command must not replace.

        ``into_folder`` is for an input that is a folder, whose results need one.
        Raises UsageError or InvalidParameter for outputs that cannot be written.
        """
        if options["json"] and options["output"] == STREAM:
            raise click.UsageError("--json and -o - both write to standard output: write the image to a file")
        if [*names, *other_files].count(STREAM) > 1:
            raise click.UsageError("standard input '-' can be given once")
        if options["output"] == STREAM and suffixes == INVERSION_SUFFIXES:
            raise click.UsageError("an inversion cannot be written to standard output: give a file with -o")
        plan, encoding = OutputPlan.of(options, suffixes, into_folder=into_folder), encoding_of(options)
        targets = plan.targets(names, operation, other_files)
        for suffix in {plan.suffixes[0] if target is None else target.suffix for target in targets}:
            encoding.check(suffix)
        sheet = plan_sheet(options.get("sheet"), targets, [*names, *other_files])
        jobs = [Job(name, read_if_stdin(name), target) for name, target in zip(names, targets, strict=True)]
        return cls(jobs, options["json"], sheet, encoding, plan.suffixes[0], skip=plan.existing == "skip")

    def run(self, prepare: Callable[[Job], Any], start: Callable[[], Callable[[Any], Any]]) -> None:
        """Prepare every input, load the models with ``start`` if an input is valid, then process the valid ones.

        An error in one input does not stop the others. Only the first prepared input is kept; the others are prepared
        again in their turn, since memory must not grow with their number. Exits with the status of the worst error
        after all inputs.
        """
        errors = ErrorCollector(len(self.jobs))
        valid: list[Job] = []
        first = None
        for job in self.jobs:
            if self.skip and job.target is not None and os.path.lexists(job.target):
                click.echo(f"Skipped: {str(job.target)!r} exists", err=True)
                continue
            with errors.attempt(job.name):
                prepared = prepare(job)
                first = prepared if not valid else first
                valid.append(job)
        if valid:
            self._execute_all(valid, first, prepare, start(), errors)
        if errors.status:
            raise click.exceptions.Exit(errors.status)

    def _execute_all(
        self,
        jobs: Sequence[Job],
        first: Any,
        prepare: Callable[[Job], Any],
        execute: Callable[[Any], Any],
        errors: ErrorCollector,
    ) -> None:
        """Compute and write one result after another, and the contact sheet of all results at the end."""
        results: list[tuple[str, Result]] = []
        for number, job in enumerate(jobs):
            with errors.attempt(job.name):
                outcome = execute(prepare(job) if number else first)
                if job.target is None:
                    write_stdout(outcome, self.suffix, self.encoding)
                else:
                    write_result(outcome, job.target, self.encoding, as_json=self.as_json)
                if self.sheet:
                    results.append((stem_of(job.name, ""), outcome))
        if self.sheet and results:
            save_sheet(self.sheet, results)


def read_if_stdin(name: str | None, argument: str = "image") -> str | bytes | None:
    """Return the path of an input, or the bytes of standard input, which can be read only once."""
    from ..images.sources import read_source

    return read_source(STREAM, argument=argument) if name == STREAM else name or None
