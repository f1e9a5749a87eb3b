"""The engine ``ray``: actors of a Ray cluster (https://arxiv.org/abs/1712.05889)."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from editkit import EngineOptions, WorkerEnded

from ..extras import require_extra


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
        # Ray prints messages about workers that ended, and standard output is for results.
        with contextlib.redirect_stdout(sys.stderr):
            ray.init(address=options.address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
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


class PartRunner:
    """Actor: a process that runs one part at a time and keeps its models."""

    def run(self, work: Callable[[str], Any], part: str) -> Any:
        """Return the value of ``work``."""
        return work(part)


class RayWorkers:
    """Actors that each run one part at a time; a new one takes the place of one that ended."""

    def __init__(self, ray: Any, count: int, share: dict[str, Any]) -> None:
        self.ray = ray
        self.share = share
        self.actors = [self._actor() for _ in range(count)]

    def _actor(self) -> Any:
        return self.ray.remote(**self.share)(PartRunner).remote()

    def run(self, work: Callable[[str], Any], parts: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """Yield each part with its value, its exception, or WorkerEnded."""
        remaining = iter(parts)
        running: dict[Any, tuple[str, int]] = {}

        def hand_out(slot: int) -> None:
            part = next(remaining, None)
            if part is not None:
                running[self.actors[slot].run.remote(work, part)] = part, slot

        for slot in range(len(self.actors)):
            hand_out(slot)
        while running:
            (reference,), _ = self.ray.wait(list(running), num_returns=1)
            part, slot = running.pop(reference)
            outcome = self._outcome(reference)
            if isinstance(outcome, WorkerEnded):
                self.actors[slot] = self._actor()
            hand_out(slot)
            yield part, outcome

    def _outcome(self, reference: Any) -> Any:
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayActorError as error:
            return WorkerEnded(f"an actor of Ray ended: {' '.join(str(error).split())[:200]}")
        except self.ray.exceptions.RayTaskError as error:
            return error.as_instanceof_cause()
