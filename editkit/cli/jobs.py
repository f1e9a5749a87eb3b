"""Jobs of a command that produces results: its inputs and their output files, chosen before any work."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import itertools
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .many.file_names import fill_template
from .many.inputs import Input
from .many.masks import plan_masks
from .many.variants import Variant
from .outputs.options import encoding_of
from .outputs.plan import STREAM, OutputPlan, ResultName, plan_shown, stem_of
from .outputs.printing import is_terminal
from .outputs.writing import output_place

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
class Inputs:
    """The inputs of a command, and that by which their results differ."""

    inputs: Sequence[Input]
    into_folder: bool = False
    """Whether one of them was named as a folder or a pattern, whose results need a folder."""
    variants: Sequence[Variant] = (ONE,)
    """Results of each input."""
    values: Sequence[Mapping[str, Any]] | None = None
    """Parameters of each input, for names of files."""
    animated: Mapping[str, str] = dc.field(default_factory=dict)
    """Inputs that are animations, with the suffixes of their formats."""

    def name_results(self, plan: OutputPlan, operation: str, template: str | None) -> list[ResultName]:
        """Return the name of each result: those of the first input, then those of the next; see ``fill_template``."""
        values = self.values or [{}] * len(self.inputs)
        pairs = [
            (one, known, variant) for one, known in zip(self.inputs, values, strict=True) for variant in self.variants
        ]
        filled = [
            {**known, "operation": operation, "stem": stem_of(one.name, operation), **variant.settings}
            for one, known, variant in pairs
        ]
        results = [ResultName(one.name, variant.label, one.folder) for one, _, variant in pairs]
        names = fill_template(template, filled, [plan.suffixes_of(one.input) for one in results])
        if names is None:
            return results
        return [one._replace(file_name=name) for one, name in zip(results, names, strict=True)]


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
        inputs: Inputs,
        suffixes: Sequence[str],
        other_files: Sequence[str] = (),
        *,
        batch: int = 1,
        masks: int = 1,
    ) -> Invocation:
        """Choose and check all output files; ``other_files`` are further files that the command must not replace.

        ``suffixes`` are those that a result may have, the default first. ``masks`` is the number of masks of an edit.
        Raises UsageError or InvalidParameter for outputs that cannot be written.
        """
        names = [one.name for one in inputs.inputs]
        _check_streams(options, [*names, *other_files])
        plan = OutputPlan.of(options, suffixes, into_folder=inputs.into_folder, animated=inputs.animated)
        encoding = encoding_of(options)
        results = inputs.name_results(plan, operation, options.get("name"))
        targets = plan.targets(results, operation, other_files)
        default = plan.suffixes_of(names[0])[0]
        for suffix in {default if target is None else target.suffix for target in targets}:
            encoding.check(suffix)
        outputs = [str(target) for target in targets if target]
        existing = plan.existing
        sheet = plan_shown(options.get("sheet"), [*names, *other_files, *outputs], existing, argument="sheet")
        mask_files, are_masks_replaced = plan_masks(options, results, [*other_files, *outputs], masks)
        written = [str(file) for file in (sheet, *itertools.chain(*mask_files)) if file]
        others = [*names, *other_files, *outputs, *written]
        refused = existing if existing == "refuse" else None  # every preview replaces the one before
        preview = plan_shown(options.get("preview"), others, refused, argument="preview")
        sources = [read_if_stdin(name) if name else None for name in names]
        pairs = itertools.product(range(len(names)), inputs.variants)
        jobs = [
            Job(names[number], sources[number], target, number, variant, files, place)
            for place, ((number, variant), target, files) in enumerate(zip(pairs, targets, mask_files, strict=True))
        ]
        replaced = {
            "output": plan.replaces(results),
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


def _check_streams(options: Mapping[str, Any], files: Sequence[str]) -> None:
    """Raise UsageError if standard input or standard output would have several uses."""
    if options["json"] and options["output"] == STREAM:
        raise click.UsageError("--json and -o - both write to standard output: write the image to a file")
    if files.count(STREAM) > 1:
        raise click.UsageError("standard input '-' can be given once")


def read_if_stdin(name: str, argument: str = "image") -> str | bytes:
    """Return the path of an input, or the bytes of standard input, which can be read only once."""
    from ..images.sources import read_source

    if name == STREAM and is_terminal(sys.stdin):
        raise click.UsageError(f"{argument} '-' is standard input, and that is a terminal: send a file to it by < FILE")
    return read_source(STREAM, argument=argument) if name == STREAM else name
