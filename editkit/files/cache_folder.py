"""The user's cache folder, and whether files are the user's own."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from platformdirs import user_cache_path

CACHE_VARIABLE = "EDITKIT_CACHE"
"""Environment variable that replaces the user's cache folder."""


def cache_folder() -> Path | None:
    """The folder in ``EDITKIT_CACHE``, or editkit's folder among the user's caches; None for a user without a home.

    On Linux this is ``~/.cache/editkit``, or ``editkit`` in ``XDG_CACHE_HOME`` if that is an absolute path.
    """
    folder = os.environ.get(CACHE_VARIABLE)
    try:
        return Path(folder).expanduser() if folder else user_cache_path("editkit", appauthor=False)
    except RuntimeError:
        return None


def untrusted_reason(folder: Path) -> str | None:
    """Return why files in a folder may be those of another user, in a few words; None if only its owner writes to it.

    The folder above it counts too, unless it has the sticky bit as /tmp has. A missing folder has no fault.
    """
    if not hasattr(os, "geteuid"):
        return None
    for one, forbidden in ((folder, 0o022), (folder.parent, 0o002)):
        with contextlib.suppress(OSError, ValueError):  # of a name that no folder has: writing says so
            status = one.stat()
            if status.st_mode & forbidden and not (one != folder and status.st_mode & stat.S_ISVTX):
                return f"others may write to {one}"
            if one == folder and not is_own(status):
                return f"{one} belongs to another user"
    return None


def is_own(status: os.stat_result) -> bool:
    """Return whether a file is of this user or of root, who could change it anyway."""
    return not hasattr(os, "geteuid") or status.st_uid in (os.geteuid(), 0)
