"""The same edit for all images of a folder."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import editkit
from editkit import EditkitError, InvalidParameter

from .edits import Call
from .folder import ImageFolder, shortened, shown
from .form import MASK, needs_mask
from .jobs import Job

_TOGETHER = 4
"""Images that are edited together: few, so that results come soon."""


@dc.dataclass(frozen=True)
class BatchOutcome:
    """End of one image of a batch."""

    name: str
    output: str = ""
    """Name of the result within the folder of the page; empty after an error."""
    error: str = ""
    warnings: tuple[str, ...] = ()


def batch_work(
    call: Call, files: list[Path], outputs: str, folder: ImageFolder, params: type[Any], dtype: str | None
) -> Callable[[Job, str | None], None]:
    """Return the work of a job that edits files and saves the results in a folder.

    A painted mask goes along for images of its size. Raises InvalidParameter if nothing can be edited.
    """
    if needs_mask(params) and not call.has_mask:
        raise InvalidParameter(f"{call.operation} needs a mask: paint one on an image of the same size")
    target = _target(files, outputs, folder)
    values = dict(call.values) | ({MASK: call.mask_image()} if call.has_mask else {})
    rows = [editkit.EditRow(call.operation, file, values) for file in files]

    def work(job: Job, device: str | None) -> None:
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EditkitError(f"folder {shortened(outputs)} cannot be made: {error.strerror or error}") from error
        job.total, job.label = len(files), "images"

        def edit() -> None:
            outcomes = editkit.edit_rows(rows, model=call.model, device=device, dtype=dtype, batch=_TOGETHER)
            for number, outcome in outcomes:
                job.results.append(_outcome(files[number], outcome, target, call.suffix, folder))
                job.step += 1

        job.follow(edit, lambda step: None)

    return work


def _target(files: list[Path], outputs: str, folder: ImageFolder) -> Path:
    """Return the folder of the results; raises InvalidParameter if it is that of the images, or if there are none."""
    if not files:
        raise InvalidParameter("there are no images in that folder: name another one")
    target = folder.resolve(outputs)
    if target.exists() and not target.is_dir():
        raise InvalidParameter(f"{shortened(outputs)} is a file: name a folder for the results")
    if target in {file.parent for file in files}:
        raise InvalidParameter("the results would lie among the images: name another folder for them")
    return target


def _outcome(file: Path, outcome: Any, target: Path, suffix: str, folder: ImageFolder) -> BatchOutcome:
    """Save a result under the name of its image."""
    name = shown(file.name)
    if isinstance(outcome, editkit.Result):
        try:
            path = folder.unused(folder.name_of(target / f"{file.stem}{suffix}"))
            outcome.save(path)
        except EditkitError as error:
            return BatchOutcome(name, error=str(error))
        return BatchOutcome(name, shown(folder.name_of(path)), warnings=outcome.report.warnings)
    return BatchOutcome(name, error=str(outcome))
