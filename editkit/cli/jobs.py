"""One invocation of a command that produces results: inputs, output files, and the loop over them."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import functools
import hashlib
import itertools
import os
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import Cancelled, MissingCapability
from ..inversion.settings import INVERSION_SUFFIXES
from ..sampling.params import SEED_WITHOUT_NOISE
from .errors import ErrorCollector
from .many.file_names import fill_template
from .many.lines import Count, OutputLines
from .many.masks import plan_masks
from .many.variants import Variant
from .outputs import Shown, output_place, save_masks, save_result, save_sheet, write_stdout
from .targets import STREAM, OutputPlan, encoding_of, plan_shown, stem_of

if TYPE_CHECKING:
    from ..editing.animation.request import AnimationRequest
    from ..editing.request import Request
    from ..images.stored.encoding import Encoding


ONE = Variant()
"""The variant of an input with one result."""


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
    variant: Variant = ONE
    masks: Sequence[Path] = ()
    """Files for the masks of the edit; none to write none."""
    place: int = 0
    """Place of the job among the jobs."""

    @property
    def stem(self) -> str:
        """Name of the input in a sheet."""
        return stem_of(self.name, "")


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
    replaced: Collection[str] = ("output", "sheet", "mask_out")
    """Outputs whose files are replaced if they exist when they are written; those of others are numbered."""
    batch: int = 1
    """Number of jobs that are processed together."""
    preview: Path | None = None

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
        variants: Sequence[Variant] = (ONE,),
        folders: Sequence[str] | None = None,
        values: Sequence[Mapping[str, Any]] | None = None,
        animated: Mapping[str, str] | None = None,
        batch: int = 1,
        masks: int = 1,
    ) -> Invocation:
        """Choose and check all output files; ``other_files`` are further files that the command must not replace.

        ``into_folder`` is for an input that is a folder, whose results need one; ``folders`` are those of the inputs in
        it. Each input has a result for each of ``variants``. ``values`` are the parameters of each for names of files.
        ``animated`` are inputs that are animations, with the suffixes of their formats. ``masks`` is the number of
        masks of an edit. Raises UsageError or InvalidParameter for outputs that cannot be written.
        """
        if options["json"] and options["output"] == STREAM:
            raise click.UsageError("--json and -o - both write to standard output: write the image to a file")
        if [*names, *other_files].count(STREAM) > 1:
            raise click.UsageError("standard input '-' can be given once")
        if options["output"] == STREAM and suffixes == INVERSION_SUFFIXES:
            raise click.UsageError("an inversion cannot be written to standard output: give a file with -o")
        plan = OutputPlan.of(options, suffixes, into_folder=into_folder, animated=animated)
        encoding = encoding_of(options)
        pairs = [(number, variant) for number in range(len(names)) for variant in variants]
        inputs, labels = [names[number] for number, _ in pairs], [variant.label for _, variant in pairs]
        endings = [plan.suffixes_of(name) for name in inputs]
        of_inputs = [
            {**known, "operation": operation, "stem": stem_of(name, operation)}
            for name, known in zip(names, values or [{}] * len(names), strict=True)
        ]
        own = [{**of_inputs[number], **variant.settings} for number, variant in pairs]
        file_names = fill_template(options.get("name"), own, endings)
        inside = [(folders or [""] * len(names))[number] for number, _ in pairs]
        targets = plan.targets(inputs, operation, other_files, labels, file_names, inside)
        default = plan.suffixes_of(names[0])[0]
        for suffix in {default if target is None else target.suffix for target in targets}:
            encoding.check(suffix)
        outputs = [str(target) for target in targets if target]
        existing = plan.existing
        sheet = plan_shown(options.get("sheet"), [*names, *other_files, *outputs], existing, argument="sheet")
        mask_files, are_masks_replaced = plan_masks(options, inputs, labels, [*other_files, *outputs], masks)
        written = [str(file) for file in (sheet, *itertools.chain(*mask_files)) if file]
        others = [*names, *other_files, *outputs, *written]
        refused = existing if existing == "refuse" else None  # every preview replaces the one before
        preview = plan_shown(options.get("preview"), others, refused, argument="preview")
        sources = [read_if_stdin(name) if name else None for name in names]
        jobs = [
            Job(names[number], sources[number], target, number, variant, files, place)
            for place, ((number, variant), target, files) in enumerate(zip(pairs, targets, mask_files, strict=True))
        ]
        replaced = {
            "output": plan.replaces(inputs, labels, file_names),
            "sheet": existing in (None, "replace"),
            "mask_out": are_masks_replaced,
        }
        kinds = [kind for kind, is_replaced in replaced.items() if is_replaced]
        return cls(jobs, options["json"], sheet, encoding, default, existing == "skip", kinds, batch, preview)

    def place(self, kind: str, path: Path) -> contextlib.AbstractContextManager[Path]:
        """Return a context for writing an output of a kind, whose value is the file to write."""
        files = [self.sheet, self.preview, *(file for job in self.jobs for file in (job.target, *job.masks))]
        return output_place(path, files, replace=kind in self.replaced)

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

    def run(self, prepare: Callable[[Job], Any], start: Callable[[], Execute]) -> None:
        """Prepare every input, load the models with ``start`` if an input is valid, then process the valid ones.

        An error in one input does not stop the others. Only the first prepared input is kept; the others are prepared
        again in their turn, since memory must not grow with their number. Exits with the status of the worst error
        after all inputs.
        """
        delivery = Delivery(self)
        try:
            valid = self._prepare_all(prepare, delivery)
            if valid:
                execute = start()
                done = len(self.jobs) - len(valid)
                delivery.count = Count(len(self.jobs), done, min(self.batch, len(valid)))
                with contextlib.closing(execute(valid)) as outcomes:
                    for index, outcome in outcomes:
                        delivery.report_outcome(valid[index].job, outcome)
        except BrokenPipeError:
            raise
        except BaseException as error:
            delivery.end(error)
            raise
        if self.sheet and delivery.results:
            with self.place("sheet", self.sheet) as path:
                save_sheet(path, delivery.sheet_rows())
        if delivery.errors.status:
            raise click.exceptions.Exit(delivery.errors.status)

    def _prepare_all(self, prepare: Callable[[Job], Any], delivery: Delivery) -> list[Prepared]:
        """Return the jobs whose input is valid; the others are reported, as are those to skip."""
        valid: list[Prepared] = []
        for job in self.jobs:
            if self.skip and job.target is not None and os.path.lexists(job.target):
                click.echo(f"Skipped: {str(job.target)!r} exists", err=True)
                delivery.lines.skipped(job.place, job.name, job.target)
                continue
            with delivery.attempt(job):
                request = prepare(job)
                valid.append(Prepared(job, prepare, None if valid else request))
        return valid


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


def read_if_stdin(name: str, argument: str = "image") -> str | bytes:
    """Return the path of an input, or the bytes of standard input, which can be read only once."""
    from ..images.sources import read_source

    return read_source(STREAM, argument=argument) if name == STREAM else name
