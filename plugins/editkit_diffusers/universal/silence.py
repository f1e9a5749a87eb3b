"""Silence of diffusers' and transformers' logs during the calls of a pipeline, on one thread."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar

_SILENT: ContextVar[bool] = ContextVar("_SILENT", default=False)


class _DropWhileSilent(logging.Filter):
    """Filter of a handler that drops records while the thread is silent."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _SILENT.get()


_FILTER = _DropWhileSilent()


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Drop log records of this thread: a pipeline repeats its advice at every call, though it was called as meant.

    Their level is not changed, since that would hold for all threads.
    """
    for library in ("diffusers", "transformers"):
        for handler in logging.getLogger(library).handlers:
            handler.addFilter(_FILTER)  # adds it once
    token = _SILENT.set(True)
    try:
        yield
    finally:
        _SILENT.reset(token)
