"""Stamps of files, by which caches of loaded weights notice that the files have changed."""

from __future__ import annotations

from pathlib import Path


def file_stamps(location: Path) -> tuple[tuple[str, int, int], ...]:
    """Return names, times and sizes of a file or the files in a folder, which change when the files do."""
    found = [location] if location.is_file() else sorted(location.glob("*"))
    files = [(file.name, file.stat()) for file in found]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in files)
