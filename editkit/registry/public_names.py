"""Names without the folders of this machine, for files that leave it."""

from __future__ import annotations

import os
import re
from pathlib import Path

_PUBLIC_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?")


def without_folder(name: str) -> str:
    """Return the last part of a path, for files that leave this machine; a registered name or hub id is unchanged.

    A name that could be both, ``models/mine``, is a path if it exists here.
    """
    path = os.path.expanduser(name)  # noqa: PTH111 (Path's raises for unknown users)
    if _PUBLIC_NAME.fullmatch(name) and not name.startswith(".") and not os.path.lexists(path):
        return name
    path = path.encode(errors="replace").decode()  # a path may hold bytes that are no text
    last = re.split(r"[\\/]", path.rstrip("\\/"))[-1]  # of paths of any system
    return last if last.strip(".") else Path(os.path.abspath(path)).name or "folder"  # noqa: PTH100
