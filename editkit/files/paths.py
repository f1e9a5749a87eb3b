"""Paths: the kind of file at a path, and paths that are not in use."""

from __future__ import annotations

import itertools
import os
import re
import stat
from collections.abc import Container
from pathlib import Path


def unused_path(path: str | os.PathLike[str], reserved: Container[Path | None] = ()) -> Path:
    """Return a path for a new file: the path itself, else with a number from 2 on at the end of its name.

    It neither exists, as a link either, nor is one of the ``reserved`` paths.
    """
    wanted = Path(path)
    numbers = (wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}") for number in itertools.count(2))
    return next(one for one in itertools.chain([wanted], numbers) if one not in reserved and not os.path.lexists(one))


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Return whether there is a folder at a path, which may be a name that no file can have."""
    return _kind_or_none(path) == stat.S_IFDIR


def is_file(path: str | os.PathLike[str]) -> bool:
    """Return whether there is a regular file at a path, which may be a name that no file can have."""
    return _kind_or_none(path) == stat.S_IFREG


def exists(path: str | os.PathLike[str]) -> bool:
    """Return whether there is anything at a path, which may be a name that no file can have."""
    return _kind_or_none(path) is not None


def _kind_or_none(path: str | os.PathLike[str]) -> int | None:
    try:
        # An empty name is no name of the current folder, although a Path of it is.
        return type_of(Path(path)) if os.fspath(path) else None
    except (OSError, ValueError):
        return None


def type_of(path: Path) -> int | None:
    """File type at a path from a single stat, since another process may replace the file; None if nothing exists."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except FileNotFoundError:
        return None


_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)


def scheme_of(source: object) -> str | None:
    """Return the scheme of an address in lower-case letters, such as https; None for a path and other sources."""
    match = _ADDRESS.match(source) if isinstance(source, str) else None
    return match[1].lower() if match else None
