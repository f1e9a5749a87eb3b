"""Exceptions that leave the code of a plugin, and who is to blame for them."""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
import traceback
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

CORE = "editkit"


def one_line(error: BaseException) -> str:
    """Return the class and the message of an exception in one line of at most 300 characters."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= 300 else f'{text[:297]}...'}".removesuffix(": ")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that memory could not be allocated, by Python or by torch on any device."""
    if {kind.__name__ for kind in type(error).__mro__} & {"MemoryError", "OutOfMemoryError"}:
        return True
    return isinstance(error, RuntimeError) and ("allocate memory" in str(error) or "not enough memory" in str(error))


def blamed_package(error: BaseException, plugins: Iterable[str]) -> str | None:
    """Return that of the packages ``plugins`` whose code, or a library called from it, raised an exception."""
    known = set(plugins)
    return next((name for name in map(_package, _modules_in(error)) if name in known), None)


def raised_by_caller(error: BaseException, given: Iterable[Any], plugins: Iterable[str]) -> bool:
    """Return whether the code of objects that the caller passed, such as a progress function, raised an exception.

    Their modules tell that code; in the stack it is deeper than any code of editkit and of the packages ``plugins``.
    """
    ours = {CORE, *plugins}
    callers = {module for one in given for module in _modules_of(one) if _package(module) not in {"builtins", *ours}}
    for module in _modules_in(error):
        if module in callers:
            return True
        if _package(module) in ours:
            return False
    return False


@contextlib.contextmanager
def noticed_interrupts() -> Iterator[list[int]]:
    """Yield a list that holds a value once the user interrupts the process with Ctrl-C during the block.

    In threads other than the main one Python raises no KeyboardInterrupt for Ctrl-C. A handler of the host program may
    raise one at any time, so that the list then holds a value from the start.
    """
    if threading.current_thread() is not threading.main_thread():
        yield []
        return
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield [signal.SIGINT]
        return
    interrupts: list[int] = []

    def notice(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, notice)
    try:
        yield interrupts
    finally:
        if signal.getsignal(signal.SIGINT) is notice:  # the block may have set a handler of its own
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _modules_in(error: BaseException) -> Iterator[str]:
    """Yield the names of the modules in the traceback of an exception, the innermost first."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return (str(frame.f_globals.get("__name__", "")) for frame in reversed(frames))


def _package(module: str) -> str:
    return module.partition(".")[0]


def _modules_of(one: Any) -> set[str]:
    """Return the module of a function, or those of the class of an object and of its bases."""
    while isinstance(one, functools.partial):
        one = one.func
    own = getattr(one, "__module__", None)
    return {kind.__module__ for kind in type(one).__mro__} | ({own} if isinstance(own, str) else set())
