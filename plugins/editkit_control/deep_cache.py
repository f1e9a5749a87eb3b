"""Deep features of a U-Net that several steps share (DeepCache: Ma et al., arXiv 2312.00858)."""

from __future__ import annotations

from collections.abc import Callable

from editkit import Control, SamplingPath, Session

from . import DeepCacheParams
from .reuse import ReuseControl


def deep_cache(params: DeepCacheParams) -> Callable[[Session, SamplingPath], Control]:
    """Return a function that builds the control for a walk."""
    if params.every == 1:
        return lambda session, path: Control()
    return lambda session, path: ReuseControl(session, "deep-cache", lambda model: model.reusing(params.every))
