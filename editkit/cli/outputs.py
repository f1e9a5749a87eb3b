"""Results: written, printed and reported."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import json
import math
import os
import sys
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ..errors import EditkitError, InvalidParameter
from ..files.paths import exists, unused_path
from ..files.writing import locked_folder

if TYPE_CHECKING:
    from PIL import Image

    from ..editing.animation.result import AnimationResult
    from ..editing.results.result import Result
    from ..images.stored.encoding import Encoding
    from ..inversion.inversion import Inversion

    LabelledImage = tuple[str, Image.Image]


@contextlib.contextmanager
def shown_loading(name: str) -> Iterator[None]:
    """Show on standard error, if it is a terminal, that a model is loaded while the block runs."""
    if not sys.stderr.isatty():
        yield
        return
    from tqdm import tqdm

    with tqdm(desc=f"loading model {name}", bar_format="{desc}", file=sys.stderr, leave=False):
        yield


def save_result(outcome: Result | AnimationResult | Inversion, target: Path, encoding: Encoding) -> dict[str, Any]:
    """Write one result and return its report as a mapping."""
    from ..inversion.inversion import Inversion

    if isinstance(outcome, Inversion):
        outcome.save(target)
    else:
        outcome.save(target, **dc.asdict(encoding))
    report = outcome.report
    assert report is not None, "every operation reports"
    return report.as_dict()


def save_masks(
    outcome: Result | AnimationResult, paths: Sequence[Path], place: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    """Write the masks of an edit, one for each path, or those of all frames as one animation.

    ``place`` returns the context in which a file is written, whose value is the path to write.
    """
    from ..editing.animation.result import AnimationResult
    from ..images.writing import save_picture

    if isinstance(outcome, AnimationResult):
        for path in paths:
            with place(path) as file:
                outcome.save_mask(file)
        return
    for mask, path in zip(outcome.masks if paths else (), paths, strict=True):
        with place(path) as file:
            save_picture(mask, file, argument="mask_out")


@contextlib.contextmanager
def output_place(path: Path, reserved: Container[Path | None] = (), *, replace: bool) -> Iterator[Path]:
    """Yield the path of an output while other commands are kept out of its folder, which is made if it is missing.

    A file there is replaced or, unless ``replace``, kept: it has appeared since the outputs were chosen, and the path
    is numbered and none of ``reserved``. One line says so.
    """
    make_folder(path.parent)
    with locked_folder(path.parent):
        replaces = replace and exists(path)  # a link to a missing file is no file that is replaced
        if not replace and os.path.lexists(path):
            click.echo(f"Numbered: {str(path)!r} has appeared meanwhile", err=True)
            path = unused_path(path, reserved)
        yield path
    if replaces:
        report_replaced(path)


def report_replaced(path: Path) -> None:
    """Print one line for a file that existed."""
    click.echo(f"Replaced: {str(path)!r}", err=True)


def make_folder(folder: Path) -> None:
    """Make a folder for outputs; raises InvalidParameter if that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidParameter(f"output folder {str(folder)!r} cannot be made: {error.strerror}") from error


def write_stdout(result: Result | AnimationResult, suffix: str, encoding: Encoding) -> None:
    """Write the image to standard output in the format of a suffix."""
    print_bytes(result.encoded(suffix, **dc.asdict(encoding)))
    print_warnings(result.report.warnings)


def print_bytes(data: bytes) -> None:
    """Write bytes to standard output; raises EditkitError if it is full or closed, but not for a closed pipe."""
    try:
        if sys.stdout is None:
            raise ValueError("it is closed")
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is closed"
        raise EditkitError(f"standard output cannot be written: {reason}") from error


def print_warnings(warnings: Sequence[str]) -> None:
    """Print each warning on standard error in a line."""
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)


class Shown(NamedTuple):
    """A result in a contact sheet of several."""

    source: str
    """Name of its input."""
    label: str
    """Name of the result."""
    result: Result | AnimationResult


def save_sheet(path: Path, rows: Sequence[Sequence[Shown]]) -> None:
    """Write one labelled image of all sources and results.

    A row of several results has those of one source, which differ by the values of one option.
    """
    from ..images.contact_sheet import draw_sheet
    from ..images.writing import save_picture

    results = [one.result for row in rows for one in row]
    if len(results) == 1:
        sheet = results[0].sheet()
    else:
        cells = [list(_row_cells(row)) for row in rows]
        lengths = {len(row) for row in cells}
        columns = lengths.pop() if len(lengths) == 1 and len(results) > len(rows) else None
        sheet = draw_sheet([cell for row in cells for cell in row], columns=columns)
    save_picture(sheet, path, argument="sheet")


def _row_cells(row: Sequence[Shown]) -> Iterator[tuple[str, Image.Image]]:
    """Yield labelled images of the sources, which the results of a row share, and of all results."""
    for number, one in enumerate(row):
        before, after = _labelled_images(one.result)
        yield from ((f"{one.source} {label}", image) for label, image in before if number == 0)
        yield from ((f"{one.label} {label}", image) for label, image in after)


def _labelled_images(result: Result | AnimationResult) -> tuple[Sequence[LabelledImage], Sequence[LabelledImage]]:
    """Return labelled images of the sources of a result, and of its frames."""
    from ..editing.animation.result import AnimationResult

    if isinstance(result, AnimationResult):
        images = result.labelled_images()
        return images[: len(images) // 2], images[len(images) // 2 :]
    operation = result.report.operation
    return [("before", source) for source in result.sources], [(operation, frame) for frame in result.frames]


def json_option() -> click.Option:
    """Return the ``--json`` option of a command that prints a table."""
    return click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON object.")


def json_text(value: Any) -> str:
    """Return one line of JSON; NaN and infinity become null."""
    return json.dumps(_replace_nonfinite(value), allow_nan=False, default=str)


def _replace_nonfinite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _replace_nonfinite(entry) for key, entry in value.items()}
    return [_replace_nonfinite(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def size_text(count: int) -> str:
    """Return a number of bytes in GB, MB or kB."""
    unit, divisor = next(((unit, size) for unit, size in (("GB", 1e9), ("MB", 1e6)) if count >= size), ("kB", 1e3))
    return f"{count / divisor:.3g} {unit}"
