"""A cache folder for measurements, apart from the user's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

VARIABLE = "EDITKIT_CACHE"


@contextlib.contextmanager
def use_cache_folder(folder: str) -> Iterator[None]:
    """Cache inversions in ``folder`` in the block."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = folder
    try:
        yield
    finally:
        os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before
