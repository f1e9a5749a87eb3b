"""Contract of an engine, which runs the parts of a batch on processes or machines."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ..errors import EditkitError, InvalidParameter
from .arguments import GPUS, WORKERS


@dc.dataclass(frozen=True)
class EngineOptions:
    """Options that all engines have."""

    workers: int | None = None
    """Number of worker processes; None for the engine's default."""
    address: str | None = None
    """Address of a running cluster; None to start one here."""
    gpus: float | None = None
    """Share of a GPU that each worker takes; None for no request."""

    def __post_init__(self) -> None:
        """Raise InvalidParameter for a number that no engine has a meaning for."""
        WORKERS.check("workers", self.workers)
        GPUS.check("gpus", self.gpus)

    def refuse_no_workers(self, engine: str) -> None:
        """Raise InvalidParameter for 0 workers, which is this process, for an engine that has only others."""
        if self.workers == 0:
            raise InvalidParameter(f"workers=0 has no use for the engine {engine}: leave it out, or give at least 1")

    def refuse_cluster(self, engine: str) -> None:
        """Raise InvalidParameter for an option of clusters, for which an engine of this machine has no use."""
        for name in ("address", "gpus"):
            if getattr(self, name) is not None:
                raise InvalidParameter(f"{name}={getattr(self, name)!r} has no use for the engine {engine}")


class WorkerEnded(EditkitError):
    """The process that worked on a part of a batch ended before the part was finished."""


class Workers(Protocol):
    """Running processes of an engine."""

    def run(self, work: Callable[[str], Any], parts: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """Call ``work`` with each part, and yield the part with the value, or with the exception that it raised.

        ``work`` can be pickled, and its module can be imported where the workers run. Parts finish in any order. A part
        whose process ended is yielded with :class:`WorkerEnded`, perhaps with parts that waited for that process, and
        the others go on in a new process; the caller decides whether a part is run again.
        """
        ...


class Engine(Protocol):
    """Starts workers, or connects to those of a cluster."""

    def start(self, options: EngineOptions) -> AbstractContextManager[Workers]:
        """Return a context in which workers run; it ends the processes that it has started.

        Raises InvalidParameter for an option without effect and EditkitError for a missing package.
        """
        ...
