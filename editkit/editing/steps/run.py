"""A run: an edit whose steps are iterated, and which can be cancelled."""

from __future__ import annotations

import contextvars
import queue
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from ...errors import Cancelled
from ...sampling.progress import Watcher, watched_by
from .step import Step

T = TypeVar("T")

_WAIT = 0.2
"""Seconds after which waiting is begun again, because Python does not handle Ctrl-C during it on every system."""


class Run(Iterator[Step], Generic[T]):
    """Edit that :func:`start` returns: an iterator of its steps, then its :attr:`result`.

    Nothing is computed before the first step is asked for. Between two steps the edit waits; other edits with the same
    model can run meanwhile unless a control is attached to it. A step that raises ends the run with that error.

    The edit runs in a thread of its own, which computes only while this object waits for it: its loops are inside the
    calls of operations, where a generator cannot yield. The thread ends with the edit, at the end of a ``with`` block,
    after :meth:`cancel`, and when the run is garbage, as after a ``break`` out of ``for step in editkit.start(...)``.
    """

    def __init__(self, edit: Callable[[], T]) -> None:
        self._worker = _Worker(edit)
        self._place = ""
        # Garbage collection may run while its thread holds a lock that the edit needs to end: it does not wait for it.
        weakref.finalize(self, self._worker.cancel, wait=False).atexit = False

    def __next__(self) -> Step:
        step = self._worker.advance()
        if step is None:
            raise StopIteration
        self._place = f" after step {step.index + 1} of {step.total}"
        return step

    def __repr__(self) -> str:
        state = "ended" if self.is_done else "under way" if self._place else "not begun"
        return f"<Run: {state}{self._place}>"

    @property
    def result(self) -> T:
        """Value of the edit, usually a :class:`Result`, after the remaining steps; raises the edit's error."""
        for _ in self:
            pass
        return self._worker.outcome

    @property
    def is_done(self) -> bool:
        """Whether the edit has ended, with a result, an error or a cancellation."""
        return self._worker.is_done

    def cancel(self) -> None:
        """Stop the edit within one network call, from any thread; nothing is written and the model can be used again.

        The iteration, or :attr:`result`, raises Cancelled once the edit has ended. If no step is being computed, the
        edit has ended when this returns.
        """
        self._worker.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._worker.cancel()


class _Worker(Generic[T]):
    """Thread of an edit, which waits at every step until it is advanced."""

    def __init__(self, edit: Callable[[], T]) -> None:
        self.edit = edit
        self.turns: queue.SimpleQueue[None] = queue.SimpleQueue()
        """A value for each time that the edit may go on."""
        self.steps: queue.SimpleQueue[Step | None] = queue.SimpleQueue()
        """Steps of the edit, then None."""
        self.cancelled, self.ended, self.is_reported = threading.Event(), threading.Event(), False
        self.lock, self.is_waiting = threading.Lock(), True
        self.advancing = threading.RLock()
        """Held while a step is computed: two threads that wait for one step would wait for ever at the end."""
        self.results: list[T] = []
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=contextvars.copy_context().run, args=(self.run,), daemon=True)

    @property
    def is_done(self) -> bool:
        return self.ended.is_set() or (self.cancelled.is_set() and self.thread.ident is None)

    @property
    def outcome(self) -> T:
        """The result of the edit; raises its error."""
        if self.error is not None:
            raise self.error
        return self.results[0]

    def run(self) -> None:
        """Run the edit and keep its result or its error."""
        try:
            self.check()
            with watched_by(Watcher(self.check, self.show)):
                self.results.append(self.edit())
        except BaseException as error:
            self.error = error
        del self.edit  # and the images that it holds
        self.ended.set()
        self.steps.put(None)

    def check(self) -> None:
        """Raise Cancelled if the run is cancelled."""
        if self.cancelled.is_set():
            raise Cancelled("cancelled")

    def show(self, steps: Iterable[Step], *, total: int, desc: str) -> Iterator[Step]:
        """Hand over each step and wait for the next turn: a progress function."""
        for step in steps:
            self.steps.put(step)
            self.turns.get()
            self.check()
            yield step

    def advance(self) -> Step | None:
        """Let the edit go on and return its next step; None at its end, where its error is raised the first time.

        Several threads may call it; each step is returned to one of them.
        """
        with self.advancing:
            return None if self.is_reported else self._advance()

    def _advance(self) -> Step | None:
        try:
            self._go_on()
            step = self._take()
        except KeyboardInterrupt:
            self.cancelled.set()
            if self.thread.ident is not None:
                self.turns.put(None)  # the interrupt may have taken a step that the edit waits at
                self._take()
            step, self.error = None, Cancelled("cancelled")
        with self.lock:
            self.is_waiting = True
        self.is_reported = step is None
        if step is None and self.error is not None:
            raise self.error
        return step

    def _go_on(self) -> None:
        """Start the thread, or end its wait at a step."""
        with self.lock:
            self.is_waiting = False
            if self.thread.ident is None:
                self.thread.start()
            else:
                self.turns.put(None)

    def _take(self) -> Step | None:
        """Return the next step, None at the end; a cancelled edit goes on to its end."""
        while True:
            try:
                step = self.steps.get(timeout=_WAIT)
            except queue.Empty:
                continue
            if step is None or not self.cancelled.is_set():
                return step
            self.turns.put(None)

    def cancel(self, *, wait: bool = True) -> None:
        """Let the edit raise Cancelled, and wait until it has ended if it waits at a step."""
        with self.lock:
            self.cancelled.set()
            is_waiting = self.is_waiting and self.thread.ident is not None
            if is_waiting:
                self.turns.put(None)
        if is_waiting and wait:
            self.ended.wait()
