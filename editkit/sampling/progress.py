"""Progress of loops: a function of the caller that iterates their steps, and what follows the edits of a context."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses as dc
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from ..errors import Cancelled, InvalidParameter

Step = TypeVar("Step")

Progress = Callable[..., Iterable[Any]]
"""Function ``progress(iterable, total=..., desc=...)`` whose result replaces the iterable, such as ``tqdm.tqdm``.

The items are :class:`editkit.Step`.
"""


@dc.dataclass(frozen=True)
class Watcher:
    """Follower of the edits that are executed in a context."""

    check: Callable[[], None]
    """Function that raises Cancelled if the work is to stop; it is called before every network call."""
    progress: Progress | None = None
    """Progress function to which the steps of all loops are shown."""


_WATCHER: contextvars.ContextVar[Watcher | None] = contextvars.ContextVar("watcher", default=None)


@contextlib.contextmanager
def watched_by(watcher: Watcher | None) -> Iterator[None]:
    """Let a watcher follow all edits that are executed in the block, in this thread and in threads of their own."""
    token = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(token)


@contextlib.contextmanager
def unwatched_steps() -> Iterator[None]:
    """Show the steps in the block to no watcher, which can still stop the work."""
    watcher = _WATCHER.get()
    with watched_by(watcher and dc.replace(watcher, progress=None)):
        yield


def check_cancelled() -> None:
    """Raise Cancelled if a watcher of the context stops the work."""
    watcher = _WATCHER.get()
    if watcher is not None:
        watcher.check()


def wrapping(progress: Progress, show: Progress) -> Progress:
    """Return ``show``, which calls ``progress``, as code of the same module: its exceptions are the caller's own."""
    return functools.update_wrapper(show, progress, assigned=("__module__",), updated=())


def with_watcher(progress: Progress | None) -> Progress | None:
    """Return a progress function that shows steps to ``progress`` and to the watcher of the context, if any."""
    watcher = _WATCHER.get()
    watching = None if watcher is None else watcher.progress
    if progress is None or watching is None:
        return watching if progress is None else progress

    def show(steps: Iterable[Any], *, total: int, desc: str) -> Iterable[Any]:
        return progress(watching(steps, total=total, desc=desc), total=total, desc=desc)

    return wrapping(progress, show)


def show_progress(progress: Progress, steps: Iterator[Step], total: int, label: str) -> Iterator[Step]:
    """Yield ``steps`` as ``progress`` iterates them under a label.

    Raises Cancelled if the progress ends before the steps do, which would leave a half-finished image, and
    InvalidParameter if it returns no iterable, or one of other items.
    """
    source = _CountedSteps(steps)
    try:
        shown = progress(source, total=total, desc=label)
    except TypeError as error:
        if error.__traceback__ is None or error.__traceback__.tb_next is not None:
            raise
        # The exception is of the call itself, not of the function's body.
        raise InvalidParameter(f"progress is not called as tqdm is, (iterable, total=, desc=): {error}") from error
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
