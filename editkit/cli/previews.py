"""The file that shows an edit in work."""

from __future__ import annotations

import functools
import math
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import EditkitError
from ..files.paths import exists
from .options import CompletedText
from .outputs.writing import make_folder, report_replaced

if TYPE_CHECKING:
    from PIL import Image

    from ..editing.steps.step import Step
    from ..sampling.progress import Progress

INTERVAL = 0.5
"""Least time in seconds from the end of one preview to the next."""


def preview_option() -> click.Option:
    """Return the option for the file of previews."""
    text = (
        "Also write a rough image of the edit so far, at most twice a second and after the last step of each loop. It "
        "shows the image that the model works on: at its size, before a mask protects pixels, and of a region alone if "
        "the edit is in one. FILE is replaced as a whole, and the last preview stays. A batch is shown side by side."
    )
    return click.Option(["--preview"], metavar="FILE", type=CompletedText(), help=text)


def progress(preview: Path | None) -> Progress | None:
    """Return a progress function that writes previews to a file, if there is one, below a bar on standard error.

    There is no bar if that is not a terminal.
    """
    if preview is not None:
        make_folder(preview.parent)  # that of the results is not there yet
    previews = None if preview is None else PreviewFile(preview)
    if not sys.stderr.isatty():
        return previews
    from tqdm import tqdm

    bar = functools.partial(tqdm, file=sys.stderr, leave=False)
    if previews is None:
        return bar
    return lambda steps, total, desc: bar(previews(steps, total=total, desc=desc), total=total, desc=desc)


class PreviewFile:
    """Progress function that writes the previews of steps to a file, which readers never see incomplete."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.due = 0.0
        """Time from which on a preview is written; infinite once that has failed."""
        self.replaces = exists(path)
        """Whether the next preview replaces a file of somebody else."""

    def __call__(self, steps: Iterable[Step], *, total: int, desc: str) -> Iterator[Step]:
        for step in steps:
            if time.monotonic() >= self.due or (step.is_last and self.due < math.inf):
                self.due = time.monotonic() + INTERVAL if self._is_written(step) else math.inf
            yield step

    def _is_written(self, step: Step) -> bool:
        """Write the preview of a step and return whether that was possible."""
        from ..images.writing import save_picture

        try:
            save_picture(_image_of(step), self.path, argument="preview")
        except EditkitError as error:
            # The edit may have taken hours: it is not lost because its preview cannot be written.
            click.echo(f"Warning: no more previews: {error}", err=True)
            return False
        if self.replaces:
            report_replaced(self.path)
            self.replaces = False
        return True


def _image_of(step: Step) -> Image.Image:
    """Return the preview of an edit, or of all its frames and the edits in lock step with it side by side."""
    from ..images.contact_sheet import draw_sheet

    images = [image for one in step.together for image in one.previews()]
    return images[0] if len(images) == 1 else draw_sheet([("", image) for image in images])
