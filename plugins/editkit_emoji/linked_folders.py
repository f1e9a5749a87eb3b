"""Folders of models most of whose files are those of the model of captions."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from editkit import WeightsUnavailable, cache_folder

HERE = Path(__file__).parent
CAPTIONS, INSTRUCTIONS, UPSCALER = HERE / "model", HERE / "instruct", HERE / "upscaler"
READING = ("text_encoder", "tokenizer", "scheduler")
"""The parts of the model of captions that the upscaler shares."""


def instruct_folder() -> Path:
    """The folder of the model of instructions; raises WeightsUnavailable as :func:`linked`."""
    return linked("emoji-instruct", files_of(CAPTIONS) | files_of(INSTRUCTIONS))


def upscaler_folder() -> Path:
    """The folder of the upscaler; raises WeightsUnavailable as :func:`linked`."""
    shared = {name: file for name, file in files_of(CAPTIONS).items() if name.parts[0] in READING}
    return linked("emoji-upscaler", shared | files_of(UPSCALER))


def files_of(folder: Path) -> dict[Path, Path]:
    """The files below a folder, by their names in it."""
    return {file.relative_to(folder): file for file in sorted(folder.rglob("*")) if file.is_file()}


def linked(model: str, files: Mapping[Path, Path]) -> Path:
    """A whole diffusers folder in the user's cache, of links to files.

    Raises WeightsUnavailable where the user has no cache or it cannot be written to.
    """
    cache = cache_folder()
    if cache is None:
        raise WeightsUnavailable(
            f"the model {model!r} is put together in a cache: name a folder for it in EDITKIT_CACHE"
        )
    folder = cache / "models" / f"{model}-{mark_of(files)}"
    try:
        for name, file in files.items():
            put(file, folder / name)
    except OSError as error:
        raise WeightsUnavailable(
            f"the model {model!r} cannot be put together in {folder} ({error.strerror}): name another folder in "
            "EDITKIT_CACHE"
        ) from error
    return folder


def mark_of(files: Mapping[Path, Path]) -> str:
    """What is another for other files, without reading them."""
    known = [(name.as_posix(), str(file), file.stat().st_size, file.stat().st_mtime_ns) for name, file in files.items()]
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]


def put(file: Path, place: Path) -> None:
    """Link to a file unless that is done, or copy it where the disk knows no links.

    It appears at once and whole: other processes may be doing the same.
    """
    if place.exists():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(f".{secrets.token_hex(8)}")
    try:
        partial.symlink_to(file)
    except OSError:
        shutil.copyfile(file, partial)
    partial.replace(place)
