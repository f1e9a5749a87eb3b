"""First-block cache of diffusers for transformers (on the idea of TeaCache: Liu et al., arXiv 2411.19108)."""

from __future__ import annotations

from collections.abc import Callable

from editkit import Control, SamplingPath, Session

from . import FirstBlockCacheParams
from .reuse import ReuseControl


def first_block_cache(params: FirstBlockCacheParams) -> Callable[[Session, SamplingPath], Control]:
    """Return a function that builds the control for a walk."""
    threshold = params.threshold
    if threshold == 0:
        return lambda session, path: Control()
    return lambda session, path: ReuseControl(
        session, "first-block-cache", lambda model: model.caching_blocks(threshold)
    )
