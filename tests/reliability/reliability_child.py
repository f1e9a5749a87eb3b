"""Run a function in a forked child process: with limits, and killed at any moment."""

from __future__ import annotations

import os
import pickle
import resource
import select
import signal
import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Ending(NamedTuple):
    """How a child process ended."""

    state: str
    """``returned``, ``raised``, ``crashed`` or ``hung``."""
    value: Any
    """Return value or exception of the function; None of a process that crashed or hung."""
    growth: int
    """Bytes by which its peak memory exceeds that of the parent."""


def in_child(function: Callable[[], Any], *, seconds: float = 60.0) -> Ending:
    """Run a function in a child process and return how it ended; a child that does not end is killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _run(function, writing)
    os.close(writing)
    deadline, data = time.monotonic() + seconds, b""
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            os.kill(child, signal.SIGKILL)
        part = os.read(reading, 1 << 16)
        data += part
        if not part:
            break
    os.close(reading)
    _, status = os.waitpid(child, 0)
    if time.monotonic() >= deadline:
        return Ending("hung", None, 0)
    if not data or os.waitstatus_to_exitcode(status) != 0:
        return Ending("crashed", None, 0)
    return Ending(*pickle.loads(data))


def _run(function: Callable[[], Any], writing: int) -> None:
    """Run a function, write its ending to a pipe, and leave the process."""
    before = _peak()
    try:
        state, value = "returned", function()
    except BaseException as error:
        state, value = "raised", error
    try:
        data = pickle.dumps((state, value, _peak() - before))
    except Exception:
        data = pickle.dumps((state, RuntimeError(f"{type(value).__name__}: {value}"), _peak() - before))
    with os.fdopen(writing, "wb") as stream:
        stream.write(data)
    os._exit(0)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def kill_while(function: Callable[[], Any], seconds: float) -> None:
    """Run a function in a child process and kill it after ``seconds`` by a signal that it cannot catch."""
    child = os.fork()
    if child == 0:
        try:
            function()
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
