"""Where things are kept that can be made again."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "EDITKIT_CACHE"
"""The environment variable that names another folder for caches than the user's."""


def cache_folder() -> Path | None:
    """The folder in ``EDITKIT_CACHE``, or where the user keeps caches; None for a user without a home."""
    try:
        home = os.environ.get("XDG_CACHE_HOME", "")
        shared = Path(home) if Path(home).is_absolute() else Path("~/.cache")
        named = os.environ.get(VARIABLE)
        return (Path(named) if named else shared / "editkit").expanduser()
    except RuntimeError:
        return None
