"""Output files of a command, chosen and checked before any work."""

from __future__ import annotations

import dataclasses as dc
import itertools
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from ...errors import InvalidParameter
from ...files.paths import is_folder, unused_path
from .options import FORMAT_SUFFIXES, existing_of
from .printing import is_terminal

STREAM = "-"
"""File name that stands for standard input or output."""


class ResultName(NamedTuple):
    """Parts of the name of a result's file."""

    input: str
    """Input of the result: a path, ``"-"``, or ``""`` for an operation without input."""
    label: str = ""
    """Addition to the name of one of several variants of an input."""
    folder: str = ""
    """Folder inside an output folder."""
    file_name: str | None = None
    """Whole name, in place of that by input, operation and label."""


@dc.dataclass(frozen=True)
class OutputPlan:
    """Places and formats of the results of a command."""

    output: str | None
    """Value of ``-o``."""
    suffixes: Sequence[str]
    """Suffixes that a result may have, the default first."""
    existing: str | None = None
    """Value of ``--existing``."""
    into_folder: bool = False
    """Whether ``output`` is a folder although there is one input."""
    argument: str = "output"
    """Name of the output in messages."""
    form: str | None = None
    """Value of ``--format``."""
    animated: Mapping[str, str] = dc.field(default_factory=dict)
    """Inputs that are animations, with the suffix of their format, which is the default of their results."""
    remedy: str = "add --existing number"
    """Advice of a message about a result that would replace an input or another result."""

    def __post_init__(self) -> None:
        """Raise InvalidParameter for an address: its scheme would become a folder."""
        from ...files.writing import refuse_address

        refuse_address(self.output or "", self.argument)

    @classmethod
    def of(
        cls,
        options: Mapping[str, Any],
        suffixes: Sequence[str],
        *,
        into_folder: bool = False,
        animated: Mapping[str, str] | None = None,
    ) -> OutputPlan:
        """Return the plan of a command line."""
        given = options["output"], existing_of(options), options.get("format")
        return cls(given[0], suffixes, given[1], into_folder, form=given[2], animated=animated or {})

    def suffixes_of(self, name: str) -> Sequence[str]:
        """Return the suffixes that the result of an input may have, the default first.

        Raises InvalidParameter for a format that it cannot have, or that contradicts the output file.
        """
        from ...images.animation.suffixes import ANIMATION_SUFFIXES

        suffixes = self.suffixes
        if name in self.animated:
            suffixes = (self.animated[name], *(one for one in ANIMATION_SUFFIXES if one != self.animated[name]))
        if self.form is None:
            return suffixes
        default, output = FORMAT_SUFFIXES[self.form], self.output
        if default not in suffixes:
            kind = "an animation" if name in self.animated else "a still image"
            raise InvalidParameter(f"--format {self.form} is not for {kind}: choose another, or leave it out")
        same = [suffix for suffix in suffixes if suffix == default or (self.form, suffix) in _ALIASES]
        given = Path(output or "").suffix.lower()
        if output not in (None, STREAM) and given in suffixes and given not in same and not is_folder(str(output)):
            raise InvalidParameter(
                f"--format {self.form} contradicts output {output!r}: leave it out, or end it in {default}"
            )
        return (default, *(suffix for suffix in suffixes if suffix != default))

    def is_file_of(self, results: Sequence[ResultName]) -> bool:
        """Return whether the output is a file's name, also of several variants of one input."""
        labels = {one.label for one in results}
        are_variants = len({one.input for one in results}) == 1 and len(labels) == len(results)
        is_path = self.output not in (None, STREAM)
        text = str(self.output)
        is_new_folder = text.endswith(("/", os.sep)) or (len(results) > 1 and not Path(text).suffix)
        inside = self.into_folder or is_folder(text) or is_new_folder
        return is_path and are_variants and not _are_named(results) and not inside

    def replaces(self, results: Sequence[ResultName]) -> bool:
        """Return whether files that exist are replaced."""
        return self.existing == "replace" or (self.existing is None and self.is_file_of(results))

    def targets(
        self, results: Sequence[ResultName], operation: str, protected: Sequence[str] = ()
    ) -> list[Path | None]:
        """Return the output file of each result; None stands for standard output.

        ``protected`` are further files that no result may replace. Raises InvalidParameter for a file that cannot be
        written, would replace an input, or would be written twice.
        """
        if self.output == STREAM:
            if is_terminal(sys.stdout):
                raise click.UsageError(
                    f"{self.argument} '-' is standard output, and that is a terminal, which shows no image: "
                    "give a file with -o, or redirect it by > FILE"
                )
            if len(results) > 1 or self.into_folder:
                raise InvalidParameter("output '-' takes one result: give a folder with -o for several images")
            self.suffixes_of(results[0].input)
            return [None]
        targets, mode = self._choose(results, operation)
        if self.existing == "number":
            targets = _numbered(targets)
        hint = self.remedy if self.existing is None else f"give --existing number in place of {mode}"
        inputs = [one.input for one in results]
        _check_collisions(targets, inputs, hint, allow_repeated=mode == "number")
        _check_replacing(targets, [*inputs, *protected], f", or {hint}")
        if mode == "refuse":
            _check_absent(targets, self.argument)
        return list(self._number(targets) if mode == "number" else targets)

    def _choose(self, results: Sequence[ResultName], operation: str) -> tuple[list[Path], str]:
        """Return the files of results, which may exist or be equal, and what is done about those that exist."""
        from ...images.writing import check_file

        suffixes = [self.suffixes_of(one.input) for one in results]
        if self.output is not None and self.is_file_of(results):
            if not Path(self.output).suffix:
                if self.output.startswith("/dev/"):
                    raise InvalidParameter(f"{self.argument} {self.output!r} is a device: give - for standard output")
                raise InvalidParameter(
                    f"{self.argument} {self.output!r} is no folder: end it in / for a new one, or in one of "
                    f"{', '.join(suffixes[0])} for a file"
                )
            file = check_file(self.output, suffixes[0], argument=self.argument)
            return [file.with_stem(file.stem + one.label) for one in results], self.existing or "replace"
        endings = [default for default, *_ in suffixes]
        if self.output is None:
            targets = [_path_beside(one, operation, ending) for one, ending in zip(results, endings, strict=True)]
        else:
            names = [
                str(Path(one.folder, one.file_name or stem_of(one.input, operation) + one.label + ending))
                for one, ending in zip(results, endings, strict=True)
            ]
            who = "--name needs" if _are_named(results) else "several results need"
            reason = f"{self.argument} {self.output!r} is a file's name, and {who} a folder"
            targets = _paths_inside(Path(self.output), names, [*itertools.chain(*suffixes)], reason)
        return targets, self.existing or "number"

    def _number(self, targets: Sequence[Path]) -> list[Path]:
        """Return unused paths; of several results, one line says so unless numbers were asked for."""
        if self.existing is None and (len(targets) > 1 or self.into_folder):
            _report_existing(targets)
        return _numbered(targets)


_ALIASES = {("jpeg", ".jpeg"), ("tiff", ".tiff"), ("png", ".apng")}


def stem_of(name: str, operation: str) -> str:
    """Return the file name of an input without its suffix; ``operation`` for an operation without input."""
    return "stdin" if name == STREAM else Path(name).stem or operation


def _are_named(results: Sequence[ResultName]) -> bool:
    return any(one.file_name is not None for one in results)


def _path_beside(result: ResultName, operation: str, suffix: str) -> Path:
    """Return NAME-OPERATION next to the input, or the result's own name there."""
    from ...files.writing import check_output

    name = result.input
    if name == STREAM:
        raise InvalidParameter("the input is standard input: give -o FILE, or -o - for standard output")
    target = Path(name).parent / ((f"{Path(name).stem}-" if name else "") + operation + result.label + suffix)
    if not os.path.lexists(target):
        check_output(target)
    return target if result.file_name is None else target.with_name(result.file_name)


def _paths_inside(folder: Path, names: Sequence[str], suffixes: Sequence[str], reason: str) -> list[Path]:
    """Return the paths of names in a folder, which need not exist yet; raises InvalidParameter(reason) for a file."""
    from ...files.writing import check_output

    if not is_folder(folder) and (os.path.lexists(folder) or folder.suffix.lower() in suffixes):
        raise InvalidParameter(reason)
    targets = [folder / name for name in names]
    for path in {_first_missing(target) for target in targets}:
        check_output(path)
    return targets


def _first_missing(path: Path) -> Path:
    """Return the outermost missing folder of a path, or the path if its folder exists."""
    while not os.path.lexists(path.parent):
        path = path.parent
    return path


def _numbered(targets: Sequence[Path]) -> list[Path]:
    """Return paths that neither exist nor are equal, by a number at the end of the name."""
    chosen: dict[Path, None] = {}
    for target in targets:
        chosen[unused_path(target, chosen)] = None
    return list(chosen)


def _report_existing(targets: Sequence[Path]) -> None:
    """Print one line for all outputs that exist, whose results are numbered: the job may be one to continue."""
    existing = [target for target in targets if os.path.lexists(target)]
    if existing:
        count = f"{len(existing)} of {len(targets)} outputs exist"
        click.echo(
            f"Numbered: {count}, such as {str(existing[0])!r}; the new results have numbers at the end of their names "
            "(--skip-existing leaves such inputs out, --overwrite replaces the files)",
            err=True,
        )


def _check_absent(targets: Sequence[Path], argument: str = "output") -> None:
    for target in targets:
        if os.path.lexists(target):
            raise InvalidParameter(f"{argument} {str(target)!r} exists: choose --existing number, replace or skip")


def plan_shown(file: str | None, others: Sequence[str], existing: str | None, *, argument: str) -> Path | None:
    """Return the file of a contact sheet or a preview, numbered if ``existing`` says so.

    Raises InvalidParameter if it is one of the other files, or exists and must not.
    """
    from ...images.writing import check_file

    if file is None:
        return None
    path, folders = Path(file), {os.path.realpath(Path(other).parent) for other in others}
    if not os.path.lexists(path.parent) and os.path.realpath(path.parent) in folders:
        # The folder of the results is made for them: what is checked is a file beside it.
        check_file(_first_missing(path).with_name(path.name), argument=argument)
    else:
        check_file(file, argument=argument)
    if existing == "refuse":
        _check_absent([path], argument)
    elif existing in ("number", "skip"):
        path = unused_path(path, {*map(Path, others)})
    _check_replacing([path], others, argument=f"{argument} ")
    return path


def _check_collisions(targets: Sequence[Path], inputs: Sequence[str], hint: str, *, allow_repeated: bool) -> None:
    """Raise InvalidParameter if two inputs have one target, unless one input is repeated and its results numbered."""
    owners: dict[str, str] = {}
    for target, name in zip(targets, inputs, strict=True):
        path = os.path.realpath(target)
        if path in owners and not (allow_repeated and owners[path] == name):
            raise InvalidParameter(
                f"{owners[path]!r} and {name!r} would both be written to {str(target)!r}: rename one, or {hint}"
            )
        owners[path] = name


def _check_replacing(targets: Sequence[Path], protected: Sequence[str], hint: str = "", *, argument: str = "") -> None:
    """Raise InvalidParameter, from ``argument`` to ``hint``, if a target is one of the protected files."""
    protected_paths = {os.path.realpath(name) for name in protected if name and name != STREAM}
    for target in targets:
        if os.path.realpath(target) in protected_paths:
            fault = f"{argument}{str(target)!r} would replace another file of this command"
            raise InvalidParameter(f"{fault}: give another name{hint}")
