"""Folder of finished edits, from which an interrupted evaluation goes on."""

from __future__ import annotations

import dataclasses as dc
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import EditkitError, InvalidParameter
from ..files.paths import is_folder
from ..files.writing import check_output, write_atomically
from ..images.conversion import on_white
from ..images.reading import open_image
from ..images.writing import encode_image

_RESULTS = ("results.json", "table.md", "sheet.png")
"""Files that an evaluation writes beside its edits, and replaces when it goes on."""
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")


@dc.dataclass(frozen=True)
class EditRecord:
    """A finished edit: the image and its figures."""

    image: Image.Image
    """RGB, as the file holds it."""
    figures: Mapping[str, Any]
    """Cost and warnings of the report."""
    measures: Mapping[str, Mapping[str, Any]]
    """Measures of the image, by the definitions they follow."""
    key: str
    """Hash of all that the edit depends on."""


class EditStore:
    """Folder with an image and a record of each finished edit, in a folder for each method.

    Both are written whole, the record last, so that a killed process leaves finished edits and nothing else.
    """

    def __init__(self, folder: Path) -> None:
        """Make the folder; raises InvalidParameter if that is not possible, or it holds results of something else."""
        self.folder = folder
        foreign = [] if is_folder(folder / "edits") else [name for name in _RESULTS if os.path.lexists(folder / name)]
        if foreign:
            raise InvalidParameter(
                f"output folder {str(folder)!r} holds {foreign[0]} and no edits of an evaluation, so that it would be "
                "replaced: give another folder"
            )
        try:
            (folder / "edits").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidParameter(f"output folder {str(folder)!r} cannot be made: {error.strerror}") from error
        check_output(folder / "results.json")

    def get(
        self, method: str, case: str, key: str, compute: Callable[[], tuple[Image.Image, Mapping[str, Any]]]
    ) -> EditRecord:
        """Return the stored edit if its key is the same, else compute an image with its figures and store it."""
        file = self._file(method, case)
        record = _read(file, key)
        return self.put(method, case, key, *compute()) if record is None else record

    def holds(self, method: str, case: str, key: str) -> bool:
        """Return whether an edit with this key is stored."""
        return _read(self._file(method, case), key) is not None

    def put(self, method: str, case: str, key: str, image: Image.Image, figures: Mapping[str, Any]) -> EditRecord:
        """Store an edit, the image before its record."""
        file = self._file(method, case)
        record = EditRecord(on_white(image), dict(figures), {}, key)
        _make_folder(file.parent)
        write_atomically(file.with_suffix(".png"), encode_image(record.image, ".png"))
        self._write(file, record)
        return record

    def measure(
        self, method: str, case: str, record: EditRecord, definitions: str, compute: Callable[[], Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Return the stored measures by ``definitions``, else compute and store them."""
        if definitions not in record.measures:
            measures = {**record.measures, definitions: dict(compute())}
            self._write(self._file(method, case), dc.replace(record, measures=measures))
            return measures[definitions]
        return record.measures[definitions]

    def image(self, method: str, case: str) -> Image.Image:
        """Return the image of a stored edit."""
        return open_image(self._file(method, case).with_suffix(".png"))

    def write(self, name: str, data: bytes) -> Path:
        """Write a file of the folder, whole or not at all, and return its path."""
        write_atomically(self.folder / name, data)
        return self.folder / name

    def _file(self, method: str, case: str) -> Path:
        return self.folder / "edits" / _file_name(method) / f"{_file_name(case)}.json"

    def _write(self, file: Path, record: EditRecord) -> None:
        values = {"key": record.key, "figures": record.figures, "measures": record.measures}
        write_atomically(file, json.dumps(values, indent=1).encode())


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise EditkitError(f"folder {str(folder)!r} cannot be made: {error.strerror}") from error


def _file_name(text: str) -> str:
    """Return a text if it is a safe name of a file, else its safe characters with a hash of all."""
    if _SAFE.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9_]+', '-', text).strip('-')[:60]}-{digest}"


def _read(file: Path, key: str) -> EditRecord | None:
    """Return the edit in a file if it has this key; None for another key and for a file that cannot be read."""
    try:
        values = json.loads(file.read_bytes())
        if values["key"] != key:
            return None
        image = open_image(file.with_suffix(".png"))
        return EditRecord(image, dict(values["figures"]), dict(values["measures"]), key)
    except (OSError, ValueError, KeyError, TypeError, EditkitError):
        return None


def edit_key(**parts: Any) -> str:
    """Return the hash of all that an edit depends on, plain values by name."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
