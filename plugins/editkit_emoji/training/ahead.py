"""Training batches computed in advance by other processes, so that a GPU does not wait for a processor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import multiprocessing

Batch = TypeVar("Batch")

_worker: dict[str, Callable[..., Any]] = {}
"""Function that a worker process calls."""


class Prefetcher(Generic[Batch]):
    """Compute ``draw(generator=...)`` for consecutive seeds in ``workers`` processes, or in this one without workers.

    The result for a seed does not depend on the number of workers. ``draw`` must be picklable: processes are spawned,
    because one that is forked from a process with threads of torch may wait for their locks forever.
    """

    def __init__(self, draw: Callable[..., Batch], workers: int) -> None:
        self.draw, self.workers = draw, workers
        self.pending: dict[int, Any] = {}
        if workers:
            self.pool = multiprocessing.get_context("spawn").Pool(workers, _start_worker, (draw,))

    def __call__(self, generator: torch.Generator) -> Batch:
        if not self.workers:
            return self.draw(generator=generator)
        seed = generator.initial_seed()
        for coming in range(seed, seed + 2 * self.workers):
            if coming not in self.pending:
                self.pending[coming] = self.pool.apply_async(_compute_for_seed, (coming,))
        batch: Batch = self.pending.pop(seed).get()
        return batch


def _start_worker(draw: Callable[..., Any]) -> None:
    """Prepare a worker process."""
    torch.set_num_threads(1)
    _worker["draw"] = draw


def _compute_for_seed(seed: int) -> Any:
    """Compute the batch of a seed in a worker process."""
    return _worker["draw"](generator=torch.Generator().manual_seed(seed))
