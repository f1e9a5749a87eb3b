"""Files that the page may read and write: those below one folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from editkit import InvalidParameter, unused_path

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".avif", ".pgm", ".ppm")
_MOST_FILES = 2000


def shortened(name: str) -> str:
    """Return a name in quotes, cut if it is long, for messages."""
    return repr(name if len(name) <= 200 else f"{name[:200]}...")


class ImageFolder:
    """A folder whose files may be named by their path within it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            self.path = Path(path).resolve()
            is_folder = self.path.is_dir()
        except (OSError, ValueError):  # a name that is too long, for example
            is_folder = False
        if not is_folder:
            raise InvalidParameter(f"folder {shortened(os.fspath(path))} is not a folder: name one that exists")

    def resolve(self, name: str) -> Path:
        """Return the path of a file or folder by its name within this one, symbolic links followed.

        Raises InvalidParameter for a path that leads outside.
        """
        try:
            path = (self.path / name).resolve()
        except (OSError, RuntimeError, ValueError):
            path = None
        if path is None or not path.is_relative_to(self.path):
            raise InvalidParameter(f"path {shortened(name)} is not allowed: it lies outside of the folder of this page")
        return path

    def name_of(self, path: Path) -> str:
        """Return the name of a file within this folder, with slashes."""
        return path.relative_to(self.path).as_posix()

    def images(self, name: str = ".") -> list[Path]:
        """Return the image files of a folder within this one, sorted by name; links that lead outside are left out."""
        folder = self.resolve(name)
        if not folder.is_dir():
            raise InvalidParameter(f"folder {shortened(name)} does not exist: name one below the folder of this page")
        return sorted(self._images(folder))[:_MOST_FILES]

    def _images(self, folder: Path) -> Iterator[Path]:
        for entry in os.scandir(folder):
            path = Path(entry.path)
            if path.suffix.lower() not in SUFFIXES or entry.name.startswith("."):
                continue
            target = path.resolve()
            if target.is_relative_to(self.path) and stat.S_ISREG(target.stat().st_mode):
                yield path

    def unused(self, name: str) -> Path:
        """Return a path below this folder for a new file: the name itself, or numbered if it is taken."""
        return unused_path(self.resolve(name))
