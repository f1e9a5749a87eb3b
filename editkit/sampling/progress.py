"""Progress of loops: a function of the caller that iterates their steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from ..errors import Cancelled, InvalidParameter

Step = TypeVar("Step")

Progress = Callable[..., Iterable[Any]]
"""Function ``progress(iterable, total=..., desc=...)`` whose result replaces the iterable, such as ``tqdm.tqdm``."""


def show_progress(progress: Progress, steps: Iterator[Step], total: int, label: str) -> Iterator[Step]:
    """Yield ``steps`` as ``progress`` iterates them under a label.

    Raises Cancelled if the progress ends before the steps do, which would leave a half-finished image, and
    InvalidParameter if it returns no iterable, or one of other items.
    """
    source = _CountedSteps(steps)
    shown = progress(source, total=total, desc=label)
    if not isinstance(shown, Iterable):
        raise InvalidParameter(f"progress returned {type(shown).__name__}: it must return an iterable, as tqdm does")
    count = 0
    for step in shown:
        if not source.is_pending(step):
            raise InvalidParameter(
                f"progress gave back a {type(step).__name__} in place of step {count + 1}: it must yield the items of "
                "its iterable, each once and in order"
            )
        count += 1
        yield step
    is_complete = count == source.count and (count >= total or source.exhausted)
    # A progress that counts itself stops before the end of its iterable: finish that.
    if not is_complete or next(source, None) is not None:
        raise Cancelled(f"cancelled: progress ended after {count} of {total} steps of {label}")


class _CountedSteps(Iterator[Step]):
    """Steps of a loop that count how many of them were taken."""

    def __init__(self, steps: Iterator[Step]) -> None:
        self.steps = steps
        self.pending: list[Step] = []
        """Steps that were taken and not given back."""
        self.count = 0
        self.exhausted = False

    def __next__(self) -> Step:
        try:
            step = next(self.steps)
        except StopIteration:
            self.exhausted = True
            raise
        self.count += 1
        self.pending.append(step)
        return step

    def is_pending(self, step: Any) -> bool:
        """Return whether ``step`` is the oldest one that was not given back, and remove it."""
        return bool(self.pending) and self.pending.pop(0) is step
