"""Compute training batches in advance in other processes, so that a GPU does not wait for the CPU."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Generic, TypeVar

import torch
from torch import multiprocessing

Batch = TypeVar("Batch")

_worker: dict[str, Callable[..., Any]] = {}
"""Function that a worker process calls."""


class Prefetcher(Generic[Batch]):
    """Compute ``compute(generator=...)`` for consecutive seeds in ``workers`` processes, or in this one for 0.

    The result for a seed does not depend on the number of workers. ``compute`` must be picklable, because
    processes are spawned: a fork of a process with torch threads may wait for their locks forever.
    """

    def __init__(self, compute: Callable[..., Batch], workers: int) -> None:
        self.compute, self.workers = compute, workers
        self.pending: dict[int, Any] = {}
        if workers:
            spawn = multiprocessing.get_context("spawn")
            self.pool = ProcessPoolExecutor(workers, spawn, initializer=_start_worker, initargs=(compute,))

    def __call__(self, generator: torch.Generator) -> Batch:
        if not self.workers:
            return self.compute(generator=generator)
        seed = generator.initial_seed()
        for future in range(seed, seed + 2 * self.workers):
            if future not in self.pending:
                self.pending[future] = self.pool.submit(_compute_for_seed, future)
        batch: Batch = self.pending.pop(seed).result()
        return batch


def _start_worker(compute: Callable[..., Any]) -> None:
    """Set the function of a worker process and restrict the process to one thread."""
    torch.set_num_threads(1)
    _worker["compute"] = compute


def _compute_for_seed(seed: int) -> Any:
    """Compute the batch of a seed in a worker process."""
    return _worker["compute"](generator=torch.Generator().manual_seed(seed))
