"""The libraries underneath: kept off the terminal, and what they raise told in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the remarks and the loading bars of diffusers and transformers off the terminal for a while."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    before = [(library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, (verbosity, shown) in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)
            if shown:
                library.enable_progress_bar()


def reason_of(error: BaseException) -> str:
    """What a library raised, as a part of an error message: its kind and at most 200 characters of what it says."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
