"""Output files: chosen and checked before any work, then written and reported."""

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
    from ..inversion.inversion import Inversion
    from ..sampling.progress import Progress


def progress() -> Progress | None:
    """Return a progress bar on standard error, or None if that is not a terminal."""
    if not sys.stderr.isatty():
        return None
    from tqdm import tqdm

    return functools.partial(tqdm, file=sys.stderr, leave=False)


STREAM = "-"
"""File name that stands for standard input or output."""


def plan_targets(
    inputs: Sequence[str], output: str | None, operation: str, suffixes: Sequence[str], protected: Sequence[str] = ()
) -> list[Path | None]:
    """Return the output file of each input; None stands for standard output.

    An input is a path, ``"-"``, or ``""`` for an operation without input. ``suffixes`` are the allowed ones, the
    default first; ``protected`` are further files that no result may replace. Raises InvalidParameter for a file that
    cannot be written, would replace an input, or would be written twice.
    """
    from ..images.writing import check_file

    if output == STREAM:
        if len(inputs) > 1:
            raise InvalidParameter("output '-' takes one result: give a folder with -o for several images")
        return [None]
    if output is None:
        targets = [_path_beside(name, operation, suffixes[0]) for name in inputs]
    elif len(inputs) > 1 or Path(output).is_dir() or output.endswith(("/", os.sep)):
        targets = _paths_inside(Path(output), [stem_of(name, operation) + suffixes[0] for name in inputs], suffixes)
    else:
        targets = [check_file(output, suffixes)]
    _check_collisions(targets, inputs)
    _check_replacing(targets, [*inputs, *protected])
    return list(targets)


def stem_of(name: str, operation: str) -> str:
    """Return the file name of an input without its suffix; ``operation`` for an operation without input."""
    return "stdin" if name == STREAM else Path(name).stem or operation


def _path_beside(name: str, operation: str, suffix: str) -> Path:
    """Return NAME-OPERATION next to the input, numbered if that file exists."""
    from ..files import check_output

    if name == STREAM:
        raise InvalidParameter("the input is standard input: give -o FILE, or -o - for standard output")
    stem = f"{Path(name).stem}-{operation}" if name else operation
    numbered = (f"{stem}-{number}" for number in itertools.count(2))
    candidates = (Path(name).parent / (candidate + suffix) for candidate in itertools.chain([stem], numbered))
    target = next(path for path in candidates if not os.path.lexists(path))
    check_output(target)
    return target


def _paths_inside(folder: Path, names: Sequence[str], suffixes: Sequence[str]) -> list[Path]:
    """Return the paths of names in a folder, which need not exist yet."""
    from ..files import check_output

    if not folder.is_dir() and (folder.exists() or folder.suffix.lower() in suffixes):
        raise InvalidParameter(f"output {str(folder)!r} is a file's name, and several results need a folder")
    targets = [folder / name for name in names]
    first_missing = folder
    while not first_missing.parent.exists():
        first_missing = first_missing.parent
    for path in targets if folder.is_dir() else [first_missing]:
        check_output(path)
    return targets


def plan_sheet(sheet: str | None, targets: Sequence[Path | None], inputs: Sequence[str]) -> Path | None:
    """Return the file of the contact sheet; raises InvalidParameter if it is one of the other files."""
    from ..images.writing import check_file

    if sheet is None:
        return None
    path = check_file(sheet, argument="sheet")
    _check_replacing([path], [*inputs, *(str(target) for target in targets if target)])
    return path


def _check_collisions(targets: Sequence[Path], inputs: Sequence[str]) -> None:
    owners: dict[str, str] = {}
    for target, name in zip(targets, inputs, strict=True):
        path = os.path.realpath(target)
        if path in owners:
            raise InvalidParameter(
                f"{owners[path]!r} and {name!r} would both be written to {str(target)!r}: rename one"
            )
        owners[path] = name


def _check_replacing(targets: Sequence[Path], protected: Sequence[str]) -> None:
    protected_paths = {os.path.realpath(name) for name in protected if name and name != STREAM}
    for target in targets:
        if os.path.realpath(target) in protected_paths:
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
    # Bytes, since a file name need not be valid text.
    click.echo(os.fsencode(target))
    _print_warnings(report.warnings)


def write_stdout(result: Result) -> None:
    """Write the image to standard output as PNG."""
    sys.stdout.buffer.write(result.encoded(""))
    sys.stdout.buffer.flush()
    _print_warnings(result.report.warnings)


def _print_warnings(warnings: Sequence[str]) -> None:
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)


def save_sheet(path: Path, results: Sequence[tuple[str, Result]]) -> None:
    """Write one labelled image of all sources and results."""
    from ..images.contact_sheet import draw_sheet
    from ..images.writing import save_picture

    if len(results) == 1:
        sheet = results[0][1].sheet()
    else:
        sheet = draw_sheet([pair for name, result in results for pair in _labelled_images(name, result)])
    save_picture(sheet, path, argument="sheet")


def _labelled_images(name: str, result: Result) -> Iterator[tuple[str, Image.Image]]:
    for source in result.sources:
        yield f"{name} before", source
    for frame in result.frames:
        yield f"{name} {result.report.operation}", frame


def json_text(value: Any) -> str:
    """Return one line of JSON; NaN and infinity become null."""
    return json.dumps(_replace_nonfinite(value), allow_nan=False, default=str)


def _replace_nonfinite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _replace_nonfinite(entry) for key, entry in value.items()}
    return [_replace_nonfinite(entry) for entry in value] if isinstance(value, (list, tuple)) else value
