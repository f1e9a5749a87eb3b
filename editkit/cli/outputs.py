"""Where results go: decided and checked before any work, then written and reported."""

from __future__ import annotations

import dataclasses as dc
import functools
import itertools
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import InvalidParameter

if TYPE_CHECKING:
    from PIL import Image

    from ..editing.result import Result
    from ..editing.session import Progress
    from ..inversion.inversion import Inversion


def progress() -> Progress | None:
    """A bar on standard error, where a person is looking."""
    if not sys.stderr.isatty():
        return None
    from tqdm import tqdm

    return functools.partial(tqdm, file=sys.stderr, leave=False)


STREAM = "-"
"""Standard input or output, in the place of a file's name."""


def targets_of(
    inputs: Sequence[str], output: str | None, operation: str, endings: Sequence[str], kept: Sequence[str] = ()
) -> list[Path | None]:
    """The file that each input's result goes to, None for standard output.

    An input is a path, ``"-"``, or ``""`` where nothing goes in. ``endings`` are the allowed ones, the usual one first;
    ``kept`` are more files that no result may replace. Raises InvalidParameter for what cannot be written, would
    replace an input, or would be written twice.
    """
    from ..images.writing import check_file

    if output == STREAM:
        if len(inputs) > 1:
            raise InvalidParameter("output '-' takes one result: give a folder with -o for several images")
        return [None]
    if output is None:
        targets = [path_beside(name, operation, endings[0]) for name in inputs]
    elif len(inputs) > 1 or Path(output).is_dir() or output.endswith(("/", os.sep)):
        targets = paths_inside(Path(output), [stem_of(name, operation) + endings[0] for name in inputs], endings)
    else:
        targets = [check_file(output, endings)]
    check_collisions(targets, inputs)
    check_replacing(targets, [*inputs, *kept])
    return list(targets)


def stem_of(name: str, operation: str) -> str:
    return "stdin" if name == STREAM else Path(name).stem or operation


def path_beside(name: str, operation: str, ending: str) -> Path:
    """NAME-OPERATION next to the input, with a number where there is such a file already."""
    from ..files import check_output

    if name == STREAM:
        raise InvalidParameter("the input is standard input: give -o FILE, or -o - for standard output")
    stem = f"{Path(name).stem}-{operation}" if name else operation
    numbered = (f"{stem}-{number}" for number in itertools.count(2))
    candidates = (Path(name).parent / (free + ending) for free in itertools.chain([stem], numbered))
    target = next(path for path in candidates if not os.path.lexists(path))
    check_output(target)
    return target


def paths_inside(folder: Path, names: Sequence[str], endings: Sequence[str]) -> list[Path]:
    """The names in a folder, which need not be there yet."""
    from ..files import check_output

    if not folder.is_dir() and (folder.exists() or folder.suffix.lower() in endings):
        raise InvalidParameter(f"output {str(folder)!r} is a file's name, and several results need a folder")
    targets = [folder / name for name in names]
    first_missing = folder
    while not first_missing.parent.exists():
        first_missing = first_missing.parent
    for path in targets if folder.is_dir() else [first_missing]:
        check_output(path)
    return targets


def checked_sheet(sheet: str | None, targets: Sequence[Path | None], inputs: Sequence[str]) -> Path | None:
    """The file of the before/after picture, which must be none of the others."""
    from ..images.writing import check_file

    if sheet is None:
        return None
    path = check_file(sheet, argument="sheet")
    check_replacing([path], [*inputs, *(str(target) for target in targets if target)])
    return path


def check_collisions(targets: Sequence[Path], inputs: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for target, name in zip(targets, inputs, strict=True):
        place = os.path.realpath(target)
        if place in seen:
            raise InvalidParameter(f"{seen[place]!r} and {name!r} would both be written to {str(target)!r}: rename one")
        seen[place] = name


def check_replacing(targets: Sequence[Path], kept: Sequence[str]) -> None:
    protected = {os.path.realpath(name) for name in kept if name and name != STREAM}
    for target in targets:
        if os.path.realpath(target) in protected:
            raise InvalidParameter(f"{str(target)!r} would replace another file of this command: give another name")


def write_result(outcome: Result | Inversion, target: Path, *, as_json: bool) -> None:
    """Write one result, and its path or its report to standard output."""
    target.parent.mkdir(parents=True, exist_ok=True)
    outcome.save(target)
    report = outcome.report
    assert report is not None, "every operation reports"
    if as_json:
        click.echo(json_text(dc.replace(report, output=str(target)).as_dict()))
        return
    # Bytes, because a file's name need not be valid text.
    click.echo(os.fsencode(target))
    warn(report.warnings)


def write_stdout(result: Result) -> None:
    """Write the picture to standard output as PNG."""
    sys.stdout.buffer.write(result.encoded(""))
    sys.stdout.buffer.flush()
    warn(result.report.warnings)


def warn(warnings: Sequence[str]) -> None:
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)


def save_sheet(path: Path, results: Sequence[tuple[str, Result]]) -> None:
    """Write one labelled picture of what went in and what came out."""
    from ..images.contact_sheet import draw_sheet
    from ..images.writing import save_picture

    if len(results) == 1:
        picture = results[0][1].sheet()
    else:
        picture = draw_sheet([pair for name, result in results for pair in labelled_images(name, result)])
    save_picture(picture, path, argument="sheet")


def labelled_images(name: str, result: Result) -> Iterator[tuple[str, Image.Image]]:
    for source in result.sources:
        yield f"{name} before", source
    for frame in result.frames:
        yield f"{name} {result.report.operation}", frame


def json_text(value: Any) -> str:
    """One line of JSON; what JSON has no number for becomes null."""
    return json.dumps(replace_nonfinite(value), allow_nan=False, default=str)


def replace_nonfinite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): replace_nonfinite(entry) for key, entry in value.items()}
    return [replace_nonfinite(entry) for entry in value] if isinstance(value, (list, tuple)) else value
