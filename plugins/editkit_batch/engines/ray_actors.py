"""The engine ``ray``: actors of a Ray cluster (https://arxiv.org/abs/1712.05889)."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from editkit import EditkitError, EngineOptions, WorkerEnded, __version__

from ..extras import require_extra
from .addresses import check_reachable

_PATIENCE = 20.0
"""Seconds without a running worker after which a message names what the workers wait for."""
_MOST_STARTS = 3
"""Times that a worker may end before it has started."""


class RayEngine:
    """Runs parts in actors, each with its share of processors and GPUs."""

    def __init__(self, cpus: float = 1.0) -> None:
        self.cpus = cpus

    @contextlib.contextmanager
    def start(self, options: EngineOptions) -> Iterator[RayWorkers]:
        """Connect to the cluster at the address or in RAY_ADDRESS, else start one on this machine."""
        options.refuse_no_workers("ray")
        ray = require_extra("ray", "ray")
        share = {"num_cpus": self.cpus, "num_gpus": options.gpus or 0}
        address = options.address or os.environ.get("RAY_ADDRESS")
        check_reachable("Ray", address)
        # Ray prints messages about workers that ended, and standard output is for results.
        with contextlib.redirect_stdout(sys.stderr):
            _connect(ray, address)
            try:
                yield RayWorkers(ray, self._actors(ray, options), share)
            finally:
                ray.shutdown()

    def _actors(self, ray: Any, options: EngineOptions) -> int:
        """Return the number of actors: as many as the cluster has room for, if the user gives none."""
        if options.workers:
            return options.workers
        available = ray.cluster_resources()
        if options.gpus:
            return max(1, int(available.get("GPU", 0) / options.gpus))
        return max(1, int(available.get("CPU", 1) / (self.cpus or 1)))


def _connect(ray: Any, address: str | None) -> None:
    try:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except (Exception, SystemExit) as error:  # it has many types; another service at the address ends the process
        reason = " ".join(str(error).split())[:200]
        raise EditkitError(f"the Ray cluster at {address!r} cannot be used: {reason}; check --address") from error


class PartRunner:
    """Actor: a process that runs one part at a time and keeps its models."""

    def version(self) -> str:
        """Return the version of editkit, when the process has started."""
        return __version__

    def run(self, work: Callable[[str], Any], part: str) -> Any:
        """Return the value of ``work``."""
        return work(part)


class RayWorkers:
    """Actors that each run one part at a time; a new one takes the place of one that ended.

    Only an actor that has started gets a part: one for which the cluster has no room would keep it for ever.
    """

    def __init__(self, ray: Any, count: int, share: dict[str, Any]) -> None:
        self.ray, self.share = ray, share
        self.idle: list[Any] = []
        self.starting: dict[Any, Any] = {}
        """Actors by the reference to their first answer."""
        self.failed_starts = 0
        self._has_reported = False
        for _ in range(count):
            self._start()

    def _start(self) -> None:
        actor = self.ray.remote(**self.share)(PartRunner).remote()
        self.starting[actor.version.remote()] = actor

    def run(self, work: Callable[[str], Any], parts: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """Yield each part with its value, its exception, or WorkerEnded.

        Raises EditkitError if actors cannot start or have another version of editkit.
        """
        remaining = deque(parts)
        running: dict[Any, tuple[str, Any]] = {}
        while remaining or running:
            while remaining and self.idle:
                actor, part = self.idle.pop(), remaining.popleft()
                running[actor.run.remote(work, part)] = part, actor
            reference = self._next(running)
            if reference in self.starting:
                self._finish_start(reference)
            elif reference is not None:
                part, actor = running.pop(reference)
                outcome = self._outcome(reference)
                if isinstance(outcome, WorkerEnded):
                    self._start()
                else:
                    self.idle.append(actor)
                yield part, outcome

    def _next(self, running: dict[Any, Any]) -> Any:
        """Return the next reference with a value; None if all wait for room in the cluster, which a message says."""
        patience = None if running else _PATIENCE
        done, _ = self.ray.wait([*running, *self.starting], num_returns=1, timeout=patience)
        if not done and not self._has_reported:
            self._has_reported = True
            click.echo(
                f"Waiting for Ray: no worker has started; each takes {self.share}, and the cluster has "
                f"{self.ray.cluster_resources()}",
                err=True,
            )
        return next(iter(done), None)

    def _finish_start(self, reference: Any) -> None:
        actor, answer = self.starting.pop(reference), self._outcome(reference)
        if isinstance(answer, WorkerEnded):
            self.failed_starts += 1
            if self.failed_starts >= _MOST_STARTS:
                raise EditkitError(f"no worker can start in the Ray cluster: {answer}")
            self._start()
        elif answer != __version__:
            found = f"editkit {answer}" if isinstance(answer, str) else " ".join(str(answer).split())[:200]
            raise EditkitError(
                f"the Ray cluster has another installation ({found}): install editkit {__version__} with its extra "
                "batch on all of its machines"
            )
        else:
            self.failed_starts = 0
            self.idle.append(actor)

    def _outcome(self, reference: Any) -> Any:
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayActorError as error:
            return WorkerEnded(f"an actor of Ray ended: {' '.join(str(error).split())[:200]}")
        except self.ray.exceptions.RayTaskError as error:
            return error.as_instanceof_cause()
