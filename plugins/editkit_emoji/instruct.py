"""The folder of the model that takes instructions, which shares all files but a few with the model of captions."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
SHARED, OWN = HERE / "model", HERE / "instruct"


def folder() -> Path:
    """A whole diffusers folder, put together from both in the user's cache on first use."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "editkit" / "models"
    whole = cache / f"emoji-instruct-{fingerprint()}"
    if not whole.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{whole.name}.", dir=cache))
        put_together(partial)
        try:
            partial.rename(whole)
        except OSError:  # another process was faster
            shutil.rmtree(partial)
    return whole


def fingerprint() -> str:
    """What changes when any of the files does: their names, sizes, and the contents of the model's own ones."""
    digest = hashlib.sha256()
    for root in (SHARED, OWN):
        for file in sorted(path for path in root.rglob("*") if path.is_file()):
            digest.update(f"{file.relative_to(root).as_posix()} {file.stat().st_size}\n".encode())
            digest.update(file.read_bytes() if root == OWN else b"")
    return digest.hexdigest()[:16]


def put_together(target: Path) -> None:
    """Take the model's own files, and links to the shared ones (copies where the disk knows none)."""
    for root in (OWN, SHARED):
        for file in (path for path in root.rglob("*") if path.is_file()):
            place = target / file.relative_to(root)
            if place.exists():
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                place.symlink_to(file)
            except OSError:
                shutil.copyfile(file, place)
