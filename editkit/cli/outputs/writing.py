"""Write results and masks, while other commands are kept out of their folder."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import os
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...errors import InvalidParameter
from ...files.paths import exists, unused_path
from ...files.writing import locked_folder
from .printing import print_bytes, print_warnings

if TYPE_CHECKING:
    from PIL import Image

    from ...editing.animation.result import AnimationResult
    from ...editing.results.result import Result
    from ...images.stored.encoding import Encoding
    from ...inversion.inversion import Inversion

    LabelledImage = tuple[str, Image.Image]


def save_result(outcome: Result | AnimationResult | Inversion, target: Path, encoding: Encoding) -> dict[str, Any]:
    """Write one result and return its report as a mapping."""
    from ...inversion.inversion import Inversion

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
    from ...editing.animation.result import AnimationResult
    from ...images.writing import save_picture

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


def write_stdout(outcome: Result | AnimationResult | Inversion, suffix: str, encoding: Encoding) -> None:
    """Write the image to standard output in the format of a suffix, or the inversion."""
    from ...inversion.inversion import Inversion

    print_bytes(outcome.encoded() if isinstance(outcome, Inversion) else outcome.encoded(suffix, **dc.asdict(encoding)))
    assert outcome.report is not None, "every operation reports"
    print_warnings(outcome.report.warnings)
