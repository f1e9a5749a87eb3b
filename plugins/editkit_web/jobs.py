"""Work that waits in one queue for the workers, one for each device."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from PIL import Image

import editkit
from editkit import Cancelled, EditkitError

if TYPE_CHECKING:
    from editkit import Run, Step

T = TypeVar("T")
State = Literal["waiting", "running", "done", "failed", "stopped"]
_LOG = logging.getLogger(__name__)


class QueueFull(EditkitError):
    """As many jobs wait as are allowed."""


class Job:
    """One piece of work of a page, its progress and its end.

    ``work`` is called in the thread of a worker with this job and the worker's device. It makes its edits by
    :meth:`follow`, and appends to :attr:`results`, from which the page takes.
    """

    def __init__(self, work: Callable[[Job, str | None], None], *, title: str) -> None:
        self.work, self.title = work, title
        self.state: State = "waiting"
        self.step, self.total, self.label = 0, 0, ""
        self.error = ""
        """Reason of a failure in one line."""
        self.results: deque[Any] = deque()
        """Results that the page has not taken yet."""
        self._stop = threading.Event()
        self._run: Run[Any] | None = None
        self._preview: Image.Image | None = None
        self._is_drawing = False

    @property
    def is_over(self) -> bool:
        """Whether the job neither waits nor runs."""
        return self.state in ("done", "failed", "stopped")

    @property
    def is_stopping(self) -> bool:
        """Whether the job was asked to stop."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Ask the job to stop: within one call of the network."""
        self._stop.set()
        run = self._run
        if run is not None:
            run.cancel()

    def check(self) -> None:
        """Raise Cancelled if the job was asked to stop."""
        if self.is_stopping:
            raise Cancelled("stopped")

    def follow(self, edit: Callable[[], T], show: Callable[[Step], None] | None = None) -> T:
        """Return the value of a function that edits, and hand its steps to ``show``, by default to the page.

        Raises Cancelled after :meth:`stop`.
        """
        with editkit.start(edit) as self._run:
            self.check()
            for step in self._run:
                (show or self._show)(step)
            result: T = self._run.result
        self._run = None
        return result

    def take_preview(self) -> Image.Image | None:
        """Return a preview that was not taken yet; the next one is of a later step."""
        preview, self._preview = self._preview, None
        return preview

    def _show(self, step: Step) -> None:
        self.step, self.total, self.label = step.index + 1, step.total, step.label
        if self._preview is None and not self._is_drawing:
            self._is_drawing = True
            threading.Thread(target=self._draw, args=(step,), daemon=True).start()

    def _draw(self, step: Step) -> None:
        """Compute a preview beside the edit: the first one of a model takes seconds, which a stop must not wait for."""
        try:
            self._preview = step.preview()
        finally:
            self._is_drawing = False

    def run(self, device: str | None) -> None:
        """Do the work; an error becomes the end of the job."""
        self.state = "running"
        try:
            self.check()
            self.work(self, device)
        except Cancelled:
            self.state = "stopped"
        except EditkitError as error:
            self.error, self.state = str(error), "failed"
        except Exception as error:  # a page must not end the worker
            _LOG.exception("%s failed", self.title)
            self.error, self.state = f"{type(error).__name__}: {error}", "failed"
        else:
            self.state = "done"


class Workers:
    """A queue of jobs and a thread for each device that takes them in turn."""

    def __init__(self, devices: Sequence[str | None], *, most_waiting: int) -> None:
        self.most_waiting = most_waiting
        self.counts = {"done": 0, "failed": 0, "stopped": 0}
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._running: set[Job] = set()
        self._threads = [threading.Thread(target=self._take_turns, args=(one,), daemon=True) for one in devices]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        """Append a job to the queue; raises QueueFull if too many wait."""
        with self._changed:
            if len(self._waiting) >= self.most_waiting:
                raise QueueFull(f"the queue is full: {self.most_waiting} edits wait; try again later")
            self._waiting.append(job)
            self._changed.notify()

    def place(self, job: Job) -> int:
        """Return the place of a waiting job in the queue, from 1; 0 for every other."""
        with self._changed:
            return self._waiting.index(job) + 1 if job in self._waiting else 0

    def stop(self, job: Job) -> None:
        """Stop a job; one that waits leaves the queue at once."""
        job.stop()
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                job.state = "stopped"
                self.counts["stopped"] += 1

    def close(self) -> None:
        """Stop all jobs and wait for the workers, some seconds at most."""
        with self._changed:
            self._closed = True
            for job in (*self._waiting, *self._running):
                job.stop()
            self._waiting.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=5)

    def _take_turns(self, device: str | None) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                job = self._waiting.popleft()
                self._running.add(job)
                job.state = "running"
            job.run(device)
            with self._changed:
                self._running.discard(job)
                self.counts[job.state] += 1
