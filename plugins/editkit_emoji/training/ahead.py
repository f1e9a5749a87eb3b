"""Work for the next training steps, done ahead in other processes, so that a GPU need not wait for a processor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import multiprocessing

Drawn = TypeVar("Drawn")

_at_work: dict[str, Callable[[torch.Generator], Any]] = {}
"""In a worker process, what it calls."""


class Ahead(Generic[Drawn]):
    """Draws by generators of consecutive seeds, in ``workers`` processes or, with none, in this one.

    What is drawn for a seed does not depend on the number of workers.
    """

    def __init__(self, draw: Callable[[torch.Generator], Drawn], workers: int) -> None:
        self.draw, self.workers = draw, workers
        self.pending: dict[int, Any] = {}
        if workers:
            self.pool = multiprocessing.get_context("fork").Pool(workers, begin, (draw,))

    def __call__(self, generator: torch.Generator) -> Drawn:
        if not self.workers:
            return self.draw(generator)
        seed = generator.initial_seed()
        for coming in range(seed, seed + 2 * self.workers):
            if coming not in self.pending:
                self.pending[coming] = self.pool.apply_async(drawn_for, (coming,))
        found: Drawn = self.pending.pop(seed).get()
        return found


def begin(draw: Callable[[torch.Generator], Any]) -> None:
    torch.set_num_threads(1)
    _at_work["draw"] = draw


def drawn_for(seed: int) -> Any:
    return _at_work["draw"](torch.Generator().manual_seed(seed))
