"""Deep features of a U-Net that several steps share (DeepCache: Ma et al., arXiv 2312.00858)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast

from editkit import Backend, Control, SamplingPath, Session, SupportsFeatureReuse

from . import DeepCacheParams


class DeepCacheControl(Control):
    """Control that evaluates the whole network in one of ``every`` calls, and only its last layer in the others.

    The inversion is not changed: recorded estimates of a source hold, and it is replayed without error.
    """

    exclusive_over = frozenset({"the deep features of the network"})
    keeps_estimates = True

    def __init__(self, session: Session, every: int) -> None:
        self.session, self.every = session, every

    @contextlib.contextmanager
    def attach(self, backend: Backend) -> Iterator[None]:
        if self.every == 1:
            yield
            return
        model: Any = backend
        with cast(SupportsFeatureReuse, model).reusing(self.every) as calls:
            yield
        self.session.usage.warn(
            f"deep-cache: {calls.partial} of {calls.partial + calls.whole} network calls evaluated the last layer "
            "alone, with features of earlier steps, which changes the image"
        )


def deep_cache(params: DeepCacheParams) -> Any:
    """Return a function that builds the control for a walk."""

    def build(session: Session, path: SamplingPath) -> Control:
        return DeepCacheControl(session, params.every)

    return build
