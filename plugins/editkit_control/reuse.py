"""Controls that evaluate a part of the network in some calls, and take the rest from earlier ones."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from editkit import Backend, Control, ReusedCalls, Session


class ReuseControl(Control):
    """Control that samples in a context of the model which reuses parts of earlier calls.

    The inversion is not changed: recorded estimates of a source hold, and it is replayed without error.
    """

    exclusive_over = frozenset({"the features of earlier calls"})
    keeps_estimates = True

    def __init__(
        self, session: Session, name: str, reuse: Callable[[Any], AbstractContextManager[ReusedCalls]]
    ) -> None:
        self.session, self.name, self.reuse = session, name, reuse

    @contextlib.contextmanager
    def attach(self, backend: Backend) -> Iterator[None]:
        with self.reuse(backend) as calls:
            yield
        if calls.partial:
            self.session.usage.warn(
                f"{self.name}: {calls.partial} of {calls.partial + calls.whole} network calls evaluated a part of the "
                "network, with features of earlier steps, which changes the image"
            )
