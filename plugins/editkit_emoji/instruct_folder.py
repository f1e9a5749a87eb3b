"""The folder of the model of instructions, most of whose files are those of the model of captions."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from editkit import WeightsUnavailable, cache_folder

HERE = Path(__file__).parent
CAPTIONS, INSTRUCTIONS = HERE / "model", HERE / "instruct"
NAME = "emoji-instruct"


def instruct_folder() -> Path:
    """A whole diffusers folder in the user's cache, of links to the files of both models, its own before the other's.

    Raises WeightsUnavailable where the user has no cache or it cannot be written to.
    """
    files = {
        file.relative_to(root): file
        for root in (CAPTIONS, INSTRUCTIONS)
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }
    cache = cache_folder()
    if cache is None:
        raise WeightsUnavailable(
            f"the model {NAME!r} is put together in a cache: name a folder for it in EDITKIT_CACHE"
        )
    folder = cache / "models" / f"{NAME}-{mark_of(files)}"
    try:
        for name, file in files.items():
            put(file, folder / name)
    except OSError as error:
        raise WeightsUnavailable(
            f"the model {NAME!r} cannot be put together in {folder} ({error.strerror}): name another folder in "
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
