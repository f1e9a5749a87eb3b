"""Silence the log output of diffusers and transformers, and shorten their exceptions to one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress log output and progress bars of diffusers and transformers within the context."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    settings = [(library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, (verbosity, progress_bar) in zip(libraries, settings, strict=True):
            library.set_verbosity(verbosity)
            if progress_bar:
                library.enable_progress_bar()


def reason_of(error: BaseException) -> str:
    """Type and first 200 characters of an exception on one line, as part of an error message."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
