"""Files that the page may read and write: those below one folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from editkit import InvalidParameter, unused_path

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".avif", ".pgm", ".ppm")
_MOST_PROPOSED = 2000


def shown(name: str) -> str:
    """Return a file name as text that a browser can get: bytes that are not UTF-8 are replaced."""
    return os.fsencode(name).decode(errors="replace")


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
        try:
            return sorted(Path(entry.path) for entry in os.scandir(folder) if self._is_image(entry))
        except OSError as error:
            reason = error.strerror or error
            raise InvalidParameter(f"folder {shortened(name)} cannot be read: {reason}; name another one") from error

    def proposals(self) -> list[str]:
        """Return names of images in this folder that a browser can type; none if the folder cannot be read."""
        try:
            names = [path.name for path in self.images()]
        except InvalidParameter:
            return []
        return [name for name in names if shown(name) == name][:_MOST_PROPOSED]

    def _is_image(self, entry: os.DirEntry[str]) -> bool:
        if Path(entry.name).suffix.lower() not in SUFFIXES or entry.name.startswith("."):
            return False
        try:
            target = Path(entry.path).resolve(strict=True)
            return target.is_relative_to(self.path) and stat.S_ISREG(target.stat().st_mode)
        except (OSError, RuntimeError):  # a link to a missing file, or to itself
            return False

    def unused(self, name: str) -> Path:
        """Return a path below this folder for a new file: the name itself, or numbered if it is taken."""
        return unused_path(self.resolve(name))
