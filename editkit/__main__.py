"""Run the command line, by ``editkit`` or ``python -m editkit``."""

from __future__ import annotations

import _thread
import os
import sys
import time


def run() -> None:
    """Run the command line; an interrupt while its modules are imported ends like a later one."""
    sys.unraisablehook = _repeat_interrupt
    _fill_closed_streams()
    try:
        from .cli import main
    except KeyboardInterrupt:
        sys.stderr.write("Error: cancelled\n")
        sys.exit(130)
    main()


def _fill_closed_streams() -> None:
    """Give the descriptors of closed standard streams to the null device.

    The next file that is opened would have them, and what native code prints would be written to it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 (open until the process ends)


def _repeat_interrupt(ignored: object) -> None:
    """Interrupt again after an interrupt in a place where Python prints and ignores it, such as a lock of an import."""
    if not isinstance(getattr(ignored, "exc_value", None), KeyboardInterrupt):
        sys.__unraisablehook__(ignored)  # type: ignore[arg-type]
        return

    def interrupt() -> None:
        time.sleep(0.02)  # until that place is left
        _thread.interrupt_main()

    _thread.start_new_thread(interrupt, ())


if __name__ == "__main__":
    run()
