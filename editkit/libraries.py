"""Load with diffusers and transformers: one thread at a time, in silence, with exceptions on one line."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import logging
import sys
import threading
import warnings
from collections.abc import Iterator

_LOADING = threading.RLock()


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Let one thread of the process at a time load weights by diffusers, transformers or accelerate.

    They replace methods of ``torch.nn.Module`` and torch's default dtype while they load; two threads that do so at
    once leave them replaced for good: https://github.com/huggingface/diffusers/issues/4296.
    """
    with _LOADING:
        yield


@functools.cache
def hide_broken_torchvision() -> None:
    """Let transformers and diffusers do without torchvision if its import fails, as beside another build of torch.

    Both find out that the package is there, and then import it for all their models.
    """
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except Exception:  # whatever its extension raises
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        sys.modules["torchvision"] = None  # type: ignore[assignment]  # find_spec then finds nothing
        try:
            probes = importlib.import_module("transformers.utils.import_utils")
            importlib.import_module("diffusers.utils.import_utils")
            for probe in (probes.is_torchvision_available, probes.is_torchvision_v2_available):
                probe.cache_clear()
                probe()
        finally:
            del sys.modules["torchvision"]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress log output, progress bars and deprecations of diffusers and transformers within the context."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    settings = [(library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    for library in libraries:
        library.set_verbosity(logging.CRITICAL)  # they log the errors that they raise
        library.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # Some of their classes import others by names that are deprecated.
            warnings.filterwarnings("ignore", category=FutureWarning, module=r"(diffusers|transformers)\.")
            yield
    finally:
        for library, (verbosity, progress_bar) in zip(libraries, settings, strict=True):
            library.set_verbosity(verbosity)
            if progress_bar:
                library.enable_progress_bar()


def reason_of(error: BaseException) -> str:
    """Type and first 200 characters of an exception on one line, as part of an error message."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
