"""Files of the pages on the server: uploads, results and what the browser shows of them."""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
import threading
from pathlib import Path

import numpy as np
from PIL import Image

from .strokes import Levels

ROUTE = "/editkit/files"
_LONGEST_SHOWN = 1600
_LONGEST_THUMBNAIL = 160
_LONGEST_NAME = 200
"""Most bytes of a file name, to which a folder of a user may add a number."""
_TINT = (0, 120, 255)
_OPACITY = 0.55


class Store:
    """Temporary folder whose files the browser fetches by keys that nobody can guess."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="editkit-web-"))
        self._paths: dict[str, Path] = {}
        self._lock = threading.Lock()

    def new_path(self, name: str) -> Path:
        """Return the path of a new file in a folder of its own, with the last part of ``name`` made harmless."""
        folder = self.folder / secrets.token_hex(8)
        folder.mkdir()
        clean = re.sub(r"[^\w. -]", "_", Path(name.replace("\\", "/")).name)
        # The end, which has the suffix; a letter may have four bytes, and a name at most 255.
        short = clean.encode(errors="replace")[-_LONGEST_NAME:].decode(errors="ignore").lstrip(". -")
        return folder / (short or "image.png")

    def without_folders(self, text: str) -> str:
        """Return a message in which files of this store have their names alone."""
        return re.sub(rf"{re.escape(str(self.folder))}[\\/][0-9a-f]{{16}}[\\/]", "", text)

    def keep(self, name: str, data: bytes) -> Path:
        """Write bytes, unchanged, to a new file."""
        path = self.new_path(name)
        path.write_bytes(data)
        return path

    def publish(self, path: Path) -> str:
        """Return the address at which the browser gets a file."""
        key = secrets.token_urlsafe(18)
        with self._lock:
            self._paths[key] = path
        return f"{ROUTE}/{key}"

    def find(self, key: str) -> Path | None:
        """Return the file of a key."""
        with self._lock:
            return self._paths.get(key)

    def forget(self, *addresses: str) -> None:
        """Remove published files of this store."""
        for address in addresses:
            with self._lock:
                path = self._paths.pop(address.rpartition("/")[2], None)
            if path is not None and path.is_relative_to(self.folder):
                shutil.rmtree(path.parent, ignore_errors=True)

    def show(self, image: Image.Image) -> str:
        """Return the address of a view of an image for the page, scaled down if it is large."""
        return self._publish_view(image, _LONGEST_SHOWN, quality=92)

    def show_small(self, image: Image.Image) -> str:
        """Return the address of a thumbnail."""
        return self._publish_view(image, _LONGEST_THUMBNAIL, quality=80)

    def show_mask(self, levels: Levels) -> str:
        """Return the address of a mask (H, W) as a tint with transparency."""
        tint = Image.new("RGBA", (levels.shape[1], levels.shape[0]), (*_TINT, 255))
        tint.putalpha(Image.fromarray(np.rint(levels * _OPACITY).astype(np.uint8)))
        path = self.new_path("mask.png")
        tint.save(path, compress_level=1)
        return self.publish(path)

    def close(self) -> None:
        """Remove all files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _publish_view(self, image: Image.Image, longest: int, *, quality: int) -> str:
        # A view carries no metadata and no profile: it is in sRGB, and not for download.
        view = Image.new(image.mode, image.size)
        view.paste(image)
        view.thumbnail((longest, longest))
        path = self.new_path("view.webp")
        view.save(path, quality=quality, method=1)
        return self.publish(path)
