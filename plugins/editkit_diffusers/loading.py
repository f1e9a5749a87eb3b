"""Loading one part of a diffusers folder, quietly, from safetensors only."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from editkit import WeightsUnavailable


def load_part(kind: Any, folder: Path, *, device: torch.device, dtype: torch.dtype) -> Any:
    """Load ``folder`` as an instance of ``kind``, ready to run; raises WeightsUnavailable where it is damaged."""
    try:
        with quiet():
            part = kind.from_pretrained(folder, use_safetensors=True, local_files_only=True, torch_dtype=dtype)
    except Exception as error:  # the libraries underneath raise many kinds for a damaged folder
        reason = " ".join(str(error).split())[:200]
        raise WeightsUnavailable(f"{folder} cannot be loaded ({type(error).__name__}: {reason})") from error
    return part.to(device).requires_grad_(False).eval()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence progress bars and advice of the libraries underneath for a while."""
    libraries: tuple[Any, ...] = (diffusers_logging, transformers_logging)
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
