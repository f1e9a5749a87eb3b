"""PIE-Bench (arXiv 2310.01506) and PIE-Bench++ (arXiv 2406.00985): annotations in JSON beside a folder of images.

An annotation file maps the name of a case to its fields; the two benchmarks name them differently. A mask is a list, or
a text, of starts and lengths of the marked runs of the image's pixels, row by row. The tables in which a hub
distributes PIE-Bench++ hold the images too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from editkit import BadFile, InvalidParameter, evaluation, open_image

from . import PieBenchParams
from .parquet import read_tables

ANNOTATIONS = "mapping_file.json"
IMAGES = "annotation_images"
SOURCE, TARGET = ("original_prompt", "source_prompt"), ("editing_prompt", "target_prompt")
"""Names of the prompts in PIE-Bench and in PIE-Bench++."""


def open_pie_bench(folder: Path, params: PieBenchParams) -> PieBench:
    """Open a folder with annotations, or an annotation file; errors are those of :class:`PieBench`."""
    return PieBench(folder, params.group)


class PieBench:
    """The cases of an annotation file, whose images are opened one at a time."""

    floor: str | None = None

    def __init__(self, folder: Path, group: str | None = None) -> None:
        """Read the annotations; raises BadFile, naming the case and its field, for one that cannot be used."""
        file = folder / ANNOTATIONS if folder.is_dir() else folder
        tables = [] if file.is_file() else sorted(folder.glob("*/*.parquet"))
        entries = read_tables(tables) if tables else _read_annotations(file)
        images = file.parent / IMAGES
        self.images = images if images.is_dir() else file.parent
        self.entries = [(name, entry) for name, entry in entries.items() if group in (None, *_groups_of(entry))]
        if group is not None and not self.entries:
            groups = sorted({_groups_of(entry)[0] for entry in entries.values()})
            raise InvalidParameter(f"group={group!r} has no case: one of {', '.join(groups)}")

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, place: int) -> evaluation.Case:
        name, entry = self.entries[place]
        image = open_image(entry["image"] if "image" in entry else self._image_file(name, entry))
        return evaluation.Case(
            name=name,
            source=_prompt(name, entry, SOURCE),
            target=_prompt(name, entry, TARGET),
            instruction=str(entry.get("editing_instruction") or "").strip(),
            image=image,
            mask=_mask(name, entry, (image.height, image.width)),
            group=_groups_of(entry)[0],
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        return ()

    def _image_file(self, name: str, entry: Mapping[str, Any]) -> Path:
        """Return the file of an image; raises BadFile for a path that leads out of the folder of images."""
        path = PurePosixPath(str(entry.get("image_path", "")))
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise BadFile(f"case {name!r}: image_path={str(path)!r} is not allowed: give a path inside {IMAGES}")
        return self.images.joinpath(*path.parts)


def _read_annotations(file: Path) -> dict[str, dict[str, Any]]:
    try:
        entries = json.loads(file.read_bytes())
    except OSError as error:
        raise InvalidParameter(
            f"annotations {str(file)!r} cannot be read ({error.strerror}): give a folder with {ANNOTATIONS} and the "
            f"folder {IMAGES}, or another annotation file"
        ) from error
    except ValueError as error:
        raise BadFile(f"annotations {str(file)!r} are not valid JSON: {error}") from error
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise BadFile(f"annotations {str(file)!r} do not map names of cases to their fields")
    return entries


def _groups_of(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Return the kind of edit of a case, which is the folder of its image, and its number."""
    parts = PurePosixPath(str(entry.get("image_path", ""))).parts
    folder = parts[0] if len(parts) > 1 else ""
    number = str(entry.get("editing_type_id") or folder.partition("_")[0])
    return folder or number, number


def _prompt(name: str, entry: Mapping[str, Any], fields: Sequence[str]) -> str:
    """Return a prompt without the square brackets that mark its difference to the other prompt."""
    text = next((entry[field] for field in fields if isinstance(entry.get(field), str)), None)
    if text is None:
        raise BadFile(f"case {name!r} has neither {' nor '.join(fields)}: give it a text")
    return " ".join(text.replace("[", "").replace("]", "").split())


def _mask(name: str, entry: Mapping[str, Any], shape: tuple[int, int]) -> Image.Image | None:
    runs = entry.get("mask")
    if runs is None:
        return None
    try:
        values = [int(value) for value in (runs.split() if isinstance(runs, str) else runs)]
    except (TypeError, ValueError):
        raise BadFile(f"case {name!r}: its mask is no list of whole numbers") from None
    try:
        return Image.fromarray(np.uint8(255) * decode_mask(values, shape))
    except ValueError as error:
        raise BadFile(f"case {name!r}: {error}") from None


def decode_mask(runs: Sequence[int], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the mask (H, W) of 0 and 1 with the marked ``runs``: a start and a length each, row by row.

    A run that goes past the last pixel ends there, as in the published code. Raises ValueError for other numbers.
    """
    size = shape[0] * shape[1]
    mask = np.zeros(size, np.uint8)
    if len(runs) % 2:
        raise ValueError(f"its mask has {len(runs)} numbers: each start needs a length")
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        if not 0 <= start < size or length < 0:
            raise ValueError(f"its mask has a run of {length} pixels from {start} on, but the image has {size} pixels")
        mask[start : start + length] = 1
    return mask.reshape(shape)
