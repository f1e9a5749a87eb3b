"""Contract of an engine, which runs the parts of a batch on processes or machines."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from ..errors import EditkitError


@dc.dataclass(frozen=True)
class EngineOptions:
    """Options that all engines have."""

    workers: int | None = None
    """Number of worker processes; None for the engine's default."""
    address: str | None = None
    """Address of a running cluster; None to start one here."""
    gpus: float | None = None
    """Share of a GPU that each worker takes; None for no request."""


class WorkerEnded(EditkitError):
    """The process that worked on a part of a batch ended before the part was finished."""


class Engine(Protocol):
    """Runs a function on the parts of a batch, in any order and on any machine."""

    def run(
        self, work: Callable[[str], Any], parts: Sequence[str], options: EngineOptions
    ) -> Iterator[tuple[str, Any]]:
        """Call ``work`` with each part once, and yield the part with the value, or with the exception that it raised.

        ``work`` can be pickled, and its module can be imported on the machines of the engine. A part whose process
        ended is yielded with :class:`WorkerEnded`, and the other parts go on in a new process; the caller decides
        whether the part is given to the engine again. Closing the iterator ends the processes.
        """
        ...
