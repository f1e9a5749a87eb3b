"""The engine ``dask``: workers of a Dask cluster."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from editkit import EditkitError, EngineOptions, InvalidParameter, WorkerEnded, __version__

from ..extras import require_extra


class DaskEngine:
    """Runs parts as tasks, of which each worker process has one at a time."""

    @contextlib.contextmanager
    def start(self, options: EngineOptions) -> Iterator[DaskWorkers]:
        """Connect to the scheduler at the address, else start workers on this machine."""
        options.refuse_no_workers("dask")
        distributed, dask = require_extra("distributed", "dask"), require_extra("dask", "dask")
        if options.address and options.workers:
            raise InvalidParameter(f"workers={options.workers} has no use for a running Dask cluster: leave it out")
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
        return distributed.Client(cluster)
    except (OSError, ValueError) as error:
        raise EditkitError(
            f"the Dask cluster at {cluster!r} cannot be reached: {' '.join(str(error).split())[:200]}; check --address"
        ) from error


def check_versions(client: Any) -> None:
    """Raise EditkitError if the scheduler or a worker of a running cluster does not have this version of editkit.

    A worker that cannot import a task's function takes it and never answers. So the question is text, which needs no
    package there.
    """
    question = "__import__('editkit_batch') and __import__('editkit.version').version.__version__"
    answers = {"its scheduler": _ask_scheduler(client, question)} | client.run(eval, question, on_error="return")
    for place, answer in answers.items():
        if answer != __version__:
            found = f"editkit {answer}" if isinstance(answer, str) else str(answer)
            raise EditkitError(
                f"the Dask cluster has another installation at {place} ({found}): install editkit {__version__} with "
                "its extra batch on all of its machines"
            )


def _ask_scheduler(client: Any, question: str) -> Any:
    try:
        return client.run_on_scheduler(eval, question)
    except Exception as error:
        return error


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

    def run(self, work: Callable[[str], Any], parts: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """Yield each part with its value, its exception, or WorkerEnded."""
        remaining = iter(parts)
        part_of: dict[str, str] = {}

        def hand_out(count: int) -> list[Any]:
            chosen = list(itertools.islice(remaining, max(0, count)))
            tasks = [self.client.submit(work, part, pure=False, resources=self.resources) for part in chosen]
            part_of.update((task.key, part) for task, part in zip(tasks, chosen, strict=True))
            return tasks

        completed = self.distributed.as_completed(hand_out(self._most()))
        for task in completed:
            yield part_of.pop(task.key), self._outcome(task)
            completed.update(hand_out(self._most() - len(part_of)))

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
        return task.result() if error is None else error
