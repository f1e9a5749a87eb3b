"""The engine ``local``: processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from editkit import EditkitError, EngineOptions, WorkerEnded

_SPAWN = multiprocessing.get_context("spawn")  # a forked process cannot use a GPU

_MAIN = ": call editkit under if __name__ == '__main__': in your script, which every worker imports"


class _Started:
    """First message of a process: it can run parts."""


class LocalEngine:
    """Runs parts in one process for each worker, or without workers in this process."""

    @contextlib.contextmanager
    def start(self, options: EngineOptions) -> Iterator[LocalWorkers | ThisProcess]:
        """Start the processes, and end them at the end of the context."""
        options.refuse_cluster("local")
        if options.workers == 0:
            yield ThisProcess()
            return
        workers = LocalWorkers(options.workers or 1)
        try:
            yield workers
        finally:
            workers.end()


class ThisProcess:
    """Runs parts one after another in this process, which a fault in native code ends."""

    def run(self, work: Callable[[str], Any], parts: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """Yield each part with its value or exception."""
        for part in parts:
            yield part, _outcome(work, part)


class LocalWorkers:
    """Processes that each run one part at a time; a new one takes the place of one that ended."""

    def __init__(self, count: int) -> None:
        self.processes = [_WorkerProcess(slot) for slot in range(count)]
        self.has_started = False

    def run(self, work: Callable[[str], Any], parts: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """Yield each part with its value, its exception, or WorkerEnded.

        Raises EditkitError if no process can start: each part would end as many of them.
        """
        remaining = iter(parts)
        running: dict[_WorkerProcess, str] = {}
        for process in self.processes:
            _hand_out(process, work, remaining, running)
        while running:
            ready = wait([process.connection for process in running])
            for process in [one for one in running if one.connection in ready]:
                outcome = process.receive()
                if isinstance(outcome, _Started):
                    self.has_started = True
                    continue
                if not self.has_started:
                    raise EditkitError(f"{outcome} before it could start{_MAIN if process.status == 1 else ''}")
                part = running.pop(process)
                if isinstance(outcome, WorkerEnded):
                    process = self._replace(process)  # noqa: PLW2901
                _hand_out(process, work, remaining, running)
                yield part, outcome

    def _replace(self, ended: _WorkerProcess) -> _WorkerProcess:
        self.processes[ended.slot] = _WorkerProcess(ended.slot)
        return self.processes[ended.slot]

    def end(self) -> None:
        """End all processes; a part at work is left as it is."""
        for process in self.processes:
            process.process.kill()
            process.process.join()


def _hand_out(
    process: _WorkerProcess, work: Callable[[str], Any], remaining: Iterator[str], running: dict[_WorkerProcess, str]
) -> None:
    part = next(remaining, None)
    if part is not None:
        running[process] = part
        process.send(work, part)


class _WorkerProcess:
    """A process and the connection over which it gets parts and returns values."""

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.connection, other = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_serve, args=(other, slot), name=f"editkit-batch-{slot}")
        self.process.start()
        other.close()

    def send(self, work: Callable[[str], Any], part: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # the process has ended, which receive reports
            self.connection.send((work, part))

    def receive(self) -> Any:
        try:
            return self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            return WorkerEnded(f"a worker process ended with the exit status {self.status}")

    @property
    def status(self) -> int | None:
        """Exit status of a process that has ended; Python's is 1 where the main module starts processes itself."""
        return self.process.exitcode


def _serve(connection: Connection, slot: int) -> None:
    """Run parts until the connection closes; the process ends when its parent has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _take_own_gpu(slot)
    connection.send(_Started())
    with contextlib.suppress(EOFError):
        while True:
            work, part = connection.recv()
            connection.send(_outcome(work, part))


def _outcome(work: Callable[[str], Any], part: str) -> Any:
    try:
        return work(part)
    except EditkitError as error:
        return error
    except Exception as error:  # it need not be possible to pickle it
        return EditkitError(f"{type(error).__name__}: {error}")


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _take_own_gpu(slot: int) -> None:
    """Let this process use one GPU only, if there are several; torch is not loaded yet."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    numbers = (
        visible.split(",") if visible else [str(i) for i, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]
    )
    if len(numbers) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = numbers[slot % len(numbers)]
