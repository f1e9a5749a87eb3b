"""Contact sheets of the results of a command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL import Image

    from ...editing.animation.result import AnimationResult
    from ...editing.results.result import Result

    LabelledImage = tuple[str, Image.Image]


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
    from ...images.contact_sheet import draw_sheet
    from ...images.writing import save_picture

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
    from ...editing.animation.result import AnimationResult

    if isinstance(result, AnimationResult):
        images = result.labelled_images()
        return images[: len(images) // 2], images[len(images) // 2 :]
    operation = result.report.operation
    return [("before", source) for source in result.sources], [(operation, frame) for frame in result.frames]
