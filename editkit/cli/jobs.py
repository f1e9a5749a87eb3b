"""One call of a command that makes something: its inputs, where their results go, and the work in between."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from ..registry.params import Params, pictures_of
from .errors import Tally
from .outputs import STREAM, checked_sheet, deliver, pour, save_sheet, stem_of, targets_of

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
class Call:
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
    ) -> Call:
        """Decide where everything goes; ``more`` are further files of the command, which stay as they are."""
        if given["json"] and given["output"] == STREAM:
            raise click.UsageError("--json and -o - both want standard output: write the picture to a file")
        if [*names, *more].count(STREAM) > 1:
            raise click.UsageError("standard input '-' can be given once")
        if given["output"] == STREAM and endings == INVERSION:
            raise click.UsageError("an inversion cannot be written to standard output: give a file with -o")
        targets = targets_of(names, given["output"], operation, endings, more)
        sheet = checked_sheet(given.get("sheet"), targets, [*names, *more])
        jobs = [Job(name, piped(name), target) for name, target in zip(names, targets, strict=True)]
        return cls(jobs, given["json"], sheet)

    def run(self, look: Callable[[Job], Any], prepare: Callable[[Job], Callable[[Job], Any]]) -> None:
        """Look at every input, prepare with the first good one, then work; an error in one stops no other.

        Exits with the status of the worst error, after all that could be done.
        """
        tally = Tally(len(self.jobs))
        good: list[Job] = []
        for job in self.jobs:
            with tally.attempt(job.name):
                look(job)
                good.append(job)
        if good:
            self.work(good, tally, prepare(good[0]))
        if tally.status:
            raise click.exceptions.Exit(tally.status)

    def work(self, jobs: Sequence[Job], tally: Tally, make: Callable[[Job], Any]) -> None:
        """Make and write one result after the other, and the sheet of all that came out at the end."""
        results: list[tuple[str, Result]] = []
        for job in jobs:
            with tally.attempt(job.name):
                outcome = make(job)
                if job.target is None:
                    pour(outcome)
                else:
                    deliver(outcome, job.target, as_json=self.as_json)
                if self.sheet:
                    results.append((stem_of(job.name, ""), outcome))
        if self.sheet and results:
            save_sheet(self.sheet, results)


def piped(name: str | None) -> str | bytes | None:
    """The input by its path, or its bytes where it is standard input, which can be read once only."""
    from ..images.sources import read_source

    return read_source(STREAM, argument="image") if name == STREAM else name or None


def look_at(given: Any, params: type[Params] = Params, pictures: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Open the pictures of one input, and those of its parameters, to find what is wrong before a model is loaded."""
    from ..images.condition_maps import open_picture
    from ..images.reading import open_image

    sizes = [open_image(one).size for one in (given if isinstance(given, tuple) else (given,))]
    kinds = pictures_of(params)
    for name, picture in pictures.items():
        open_picture(kinds[name], picture, sizes[0], argument=name)
