"""One invocation of a command that produces results: inputs, output files, and the loop over them."""

from __future__ import annotations

import dataclasses as dc
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..files import is_folder
from ..inversion.settings import INVERSION_SUFFIXES
from .errors import ErrorCollector
from .outputs import save_mask, save_sheet, write_result, write_stdout
from .targets import STREAM, OutputPlan, encoding_of, plan_sheet, stem_of

if TYPE_CHECKING:
    from ..editing.animation.request import AnimationRequest
    from ..editing.animation.result import AnimationResult
    from ..editing.request import Request
    from ..editing.result import Result
    from ..images.stored.encoding import Encoding


MASK_SUFFIXES = (".png",)
"""Suffixes of files for masks."""


@dc.dataclass(frozen=True)
class Job:
    """One input of a command and the output file of its result."""

    name: str
    """Name of the input on the command line; empty for a command without input."""
    source: Any
    """Input of the operation: a path, bytes from standard input, or None."""
    target: Path | None
    """Output file; None for standard output."""
    number: int = 0
    """Place of the input among the inputs."""
    seed: int | None = None
    """Seed of a variant; None if there is one result for each input."""
    mask: Path | None = None
    """File for the mask of the edit; None to write none."""

    @property
    def label(self) -> str:
        """Name of the job in a sheet and in messages."""
        return stem_of(self.name, "") + _seed_label(self.seed)


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
        seeds: Sequence[int] = (),
        animated: Mapping[str, str] | None = None,
    ) -> Invocation:
        """Choose and check all output files; ``other_files`` are further files that the command must not replace.

        ``into_folder`` is for an input that is a folder, whose results need one. Several ``seeds`` give as many results
        of each input. ``animated`` are inputs that are animations, with the suffixes of their formats. Raises
        UsageError or InvalidParameter for outputs that cannot be written.
        """
        if options["json"] and options["output"] == STREAM:
            raise click.UsageError("--json and -o - both write to standard output: write the image to a file")
        if [*names, *other_files].count(STREAM) > 1:
            raise click.UsageError("standard input '-' can be given once")
        if options["output"] == STREAM and suffixes == INVERSION_SUFFIXES:
            raise click.UsageError("an inversion cannot be written to standard output: give a file with -o")
        plan = OutputPlan.of(options, suffixes, into_folder=into_folder, animated=animated)
        encoding = encoding_of(options)
        variants = [(number, seed) for number in range(len(names)) for seed in (seeds if len(seeds) > 1 else [None])]
        labels = [_seed_label(seed) for _, seed in variants]
        targets = plan.targets([names[number] for number, _ in variants], operation, other_files, labels)
        default = plan.suffixes_of(names[0])[0]
        for suffix in {default if target is None else target.suffix for target in targets}:
            encoding.check(suffix)
        sheet = plan_sheet(options.get("sheet"), targets, [*names, *other_files])
        masks = _plan_masks(options, names, variants, [*other_files, *(str(target) for target in targets if target)])
        sources = [read_if_stdin(name) for name in names]
        jobs = [
            Job(names[number], sources[number], target, number, seed, mask)
            for (number, seed), target, mask in zip(variants, targets, masks, strict=True)
        ]
        return cls(jobs, options["json"], sheet, encoding, default, skip=plan.existing == "skip")

    def check_fits(self, job: Job, request: Request) -> Request:
        """Return a request; raises InvalidParameter if its result does not fit in the format of the output."""
        self.encoding.check(self._suffix_of(job), request.result_size)
        return request

    def check_fits_animation(self, job: Job, request: AnimationRequest) -> AnimationRequest:
        """Return the request of an animation; raises InvalidParameter like :meth:`check_fits`."""
        from ..images.animation.encoding import check_encoding

        check_encoding(self._suffix_of(job), request.result_size, self.encoding)
        return request

    def _suffix_of(self, job: Job) -> str:
        return self.suffix if job.target is None else job.target.suffix

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
        results: list[tuple[str, Result | AnimationResult]] = []
        before: tuple[int, bytes] | None = None
        for number, job in enumerate(jobs):
            with errors.attempt(job.name):
                outcome = execute(prepare(job) if number else first)
                if job.seed is not None:
                    before = _compare_variant(job, outcome, before)
                if job.target is None:
                    write_stdout(outcome, self.suffix, self.encoding)
                else:
                    write_result(outcome, job.target, self.encoding, as_json=self.as_json)
                if job.mask is not None:
                    save_mask(outcome, job.mask)
                if self.sheet:
                    results.append((job.label, outcome))
        if self.sheet and results:
            save_sheet(self.sheet, results)


def _compare_variant(job: Job, outcome: Any, before: tuple[int, bytes] | None) -> tuple[int, bytes] | None:
    """Return input and pixels of a variant, and warn if the variant before has the same."""
    from ..editing.result import Result

    if not isinstance(outcome, Result):
        return None
    variant = job.number, hashlib.sha256(outcome.image.tobytes()).digest()
    if variant == before:
        warning = f"seed={job.seed} gives the same image as the seed before it: this edit draws no noise"
        outcome.report = dc.replace(outcome.report, warnings=(*outcome.report.warnings, warning))
    return variant


def _plan_masks(
    options: Mapping[str, Any],
    names: Sequence[str],
    variants: Sequence[tuple[int, int | None]],
    protected: Sequence[str],
) -> Sequence[Path | None]:
    """Return the file for the mask of each variant, None if none is written; raises like ``OutputPlan.targets``."""
    given = options.get("mask_out")
    if given is None:
        return [None] * len(variants)
    if given == STREAM:
        raise click.UsageError("--mask-out cannot be standard output: give a file")
    plan = OutputPlan(given, MASK_SUFFIXES, options.get("existing"), argument="mask_out")
    labels = ["-mask" + _seed_label(seed) for _, seed in variants]
    single = len(variants) == 1 and not is_folder(given)
    return plan.targets([names[number] for number, _ in variants], "mask", protected, [""] if single else labels)


def _seed_label(seed: int | None) -> str:
    """Return the end of the name of a variant; empty if there is only one."""
    return "" if seed is None else f"-seed{seed}"


def read_if_stdin(name: str | None, argument: str = "image") -> str | bytes | None:
    """Return the path of an input, or the bytes of standard input, which can be read only once."""
    from ..images.sources import read_source

    return read_source(STREAM, argument=argument) if name == STREAM else name or None
