"""Loading one part of a diffusers folder, quietly, from safetensors only."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

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
    from transformers.utils import logging as transformers_logging

    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    levels = [logger.level for logger in loggers]
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if shown:
            transformers_logging.enable_progress_bar()
