"""A folder of inversions for measurements alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

VARIABLE = "EDITKIT_CACHE"


@contextlib.contextmanager
def kept_in(folder: str) -> Iterator[None]:
    """Inversions are kept in ``folder`` for a while, and the user's are left alone."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = folder
    try:
        yield
    finally:
        os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before
