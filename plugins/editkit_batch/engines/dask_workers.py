"""The engine ``dask``: workers of a Dask cluster."""

from __future__ import annotations

import base64
import contextlib
import functools
import itertools
import logging
import pickle
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from editkit import EditkitError, EngineOptions, InvalidParameter, WorkerEnded, __version__

from ..extras import require_extra
from .addresses import check_reachable

_PATIENCE = 20.0
"""Seconds without a part at work after which a message names what the parts wait for."""


class DaskEngine:
    """Runs parts as tasks, of which each worker process has one at a time."""

    @contextlib.contextmanager
    def start(self, options: EngineOptions) -> Iterator[DaskWorkers]:
        """Connect to the scheduler at the address, else start workers on this machine."""
        options.refuse_no_workers("dask")
        distributed, dask = require_extra("distributed", "dask"), require_extra("dask", "dask")
        if options.address and options.workers:
            raise InvalidParameter(f"workers={options.workers} has no use for a running Dask cluster: leave it out")
        check_reachable("Dask", options.address)
        # A part that ended its worker is reported, and its rows are then edited one by one.
        with contextlib.ExitStack() as stack:
            stack.enter_context(dask.config.set({"distributed.scheduler.allowed-failures": 0}))
            cluster = options.address or stack.enter_context(_local_cluster(distributed, options.workers or 1))
            client = stack.enter_context(_connect(distributed, cluster))
            if options.address:
                check_versions(client)
            yield DaskWorkers(distributed, client, {"GPU": options.gpus} if options.gpus else None)


def _connect(distributed: Any, cluster: Any) -> Any:
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # a lost connection is one line of the command
    try:
        return distributed.Client(cluster, timeout="10s")
    except (OSError, ValueError) as error:
        raise EditkitError(
            f"the Dask cluster at {cluster!r} cannot be reached: {' '.join(str(error).split())[:200]}; check --address"
        ) from error


def check_versions(client: Any) -> None:
    """Raise EditkitError if the scheduler or a worker of a running cluster does not have this version of editkit.

    A worker that cannot import a task's function takes it and never answers. So the question is text, which needs no
    package there. Workers that join later answer it with each part.
    """
    question = "__import__('editkit_batch') and __import__('editkit.version').version.__version__"
    answers = {"its scheduler": _ask_scheduler(client, question)} | client.run(eval, question, on_error="return")
    for place, answer in answers.items():
        if answer != __version__:
            raise _other_installation(place, f"editkit {answer}" if isinstance(answer, str) else str(answer))


def _other_installation(place: str, found: str) -> EditkitError:
    return EditkitError(
        f"the Dask cluster has another installation at {place} ({found}): install editkit {__version__} with its extra "
        "batch on all of its machines"
    )


def _ask_scheduler(client: Any, question: str) -> Any:
    try:
        return client.run_on_scheduler(eval, question)
    except Exception as error:
        return error


class OtherVersion(Exception):
    """Raised in a worker that has another version of editkit than the driver."""


def _as_text(work: Callable[[str], Any], part: str) -> str:
    """Return the expression of a part's value, which a worker without editkit can answer by an ImportError."""
    call = base64.b64encode(pickle.dumps(functools.partial(_run_part, work, part, __version__))).decode("ascii")
    return f"__import__('pickle').loads(__import__('base64').b64decode('{call}'))()"


def _run_part(work: Callable[[str], Any], part: str, version: str) -> Any:
    if version != __version__:
        raise OtherVersion(socket.gethostname(), f"editkit {__version__}")
    return work(part)


def _local_cluster(distributed: Any, count: int) -> Any:
    return distributed.LocalCluster(
        n_workers=count, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs="CRITICAL"
    )


class DaskWorkers:
    """Tasks on the workers of a cluster."""

    def __init__(self, distributed: Any, client: Any, resources: dict[str, float] | None) -> None:
        self.distributed = distributed
        self.client = client
        self.resources = resources
        self._has_reported = False

    def run(self, work: Callable[[str], Any], parts: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """Yield each part with its value, its exception, or WorkerEnded."""
        remaining = iter(parts)
        part_of: dict[str, str] = {}

        def hand_out(count: int) -> list[Any]:
            chosen = list(itertools.islice(remaining, max(0, count)))
            texts = [_as_text(work, part) for part in chosen]
            tasks = [self.client.submit(eval, text, pure=False, resources=self.resources) for text in texts]
            part_of.update((task.key, part) for task, part in zip(tasks, chosen, strict=True))
            return tasks

        waiting = hand_out(self._most())
        while waiting:
            done = self._finished(waiting)
            waiting = [task for task in waiting if task not in done]
            for task in done:
                yield part_of.pop(task.key), self._outcome(task)
            waiting += hand_out(self._most() - len(part_of))

    def _finished(self, tasks: Sequence[Any]) -> set[Any]:
        """Return tasks that are finished; none if all wait for a worker, which a message says."""
        try:
            return set(self.distributed.wait(tasks, timeout=_PATIENCE, return_when="FIRST_COMPLETED").done)
        except TimeoutError:
            if not self._has_reported and not any(self.client.processing().values()):
                self._has_reported = True
                needs = f" that offers {self.resources}" if self.resources else ""
                click.echo(
                    f"Waiting for Dask: no worker{needs} takes a part; the cluster has {len(self.client.nthreads())} "
                    "workers",
                    err=True,
                )
            return set()
        except self.distributed.CancelledError:  # a lost connection
            return {task for task in tasks if task.done()}

    def _most(self) -> int:
        """Return the number of tasks to hand out: one for each worker, and one that waits.

        A cluster that adapts starts workers for tasks that wait. More of them would be lost with a worker that dies.
        """
        return len(self.client.nthreads()) + 1

    def _outcome(self, task: Any) -> Any:
        if task.status in ("cancelled", "lost"):
            raise EditkitError("the connection to the Dask cluster was lost: run the command again to go on")
        error = task.exception() if task.status == "error" else None
        if isinstance(error, self.distributed.KilledWorker):
            return WorkerEnded(f"a worker of Dask ended: {' '.join(str(error).split())[:200]}")
        if isinstance(error, ImportError):
            raise _other_installation("a worker", str(error)) from error
        if isinstance(error, OtherVersion):
            raise _other_installation(*error.args) from error
        return task.result() if error is None else error
