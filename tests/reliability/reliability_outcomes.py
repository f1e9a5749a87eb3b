"""Count how calls with bad and good input end: refused by name, right, or in one of the ways that a probe fails on."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

from editkit import Cancelled, EditkitError

GOOD = ("refused", "right")
FAULTS = ("silent wrong", "untyped", "crashed", "hung", "lost")
COLUMNS = ("tried", *GOOD, *FAULTS)
"""``refused`` counts errors of editkit in one line; ``right`` answers that a check found right. ``silent wrong`` is a
bad value answered, a good one refused, or a wrong answer; ``untyped`` an exception that is no EditkitError; ``crashed``
the end of a process; ``hung`` a call without an end; ``lost`` a file or a state that was not left as it was."""

PATIENCE = 60.0
"""Seconds after which a call counts as hung; the longest of a probe takes a few."""


class Hung(BaseException):
    """A call that did not end in time; no part of it catches this exception."""


@dc.dataclass
class Outcomes:
    """Counts of one probe."""

    probe: str
    counts: dict[str, int] = dc.field(default_factory=lambda: dict.fromkeys(COLUMNS, 0))
    faults: list[str] = dc.field(default_factory=list)

    def count(self, column: str, label: str = "") -> None:
        """Count one case under the way it ended, which ``label`` describes."""
        self.counts["tried"] += 1
        self.counts[column] += 1
        if column in FAULTS:
            self.faults.append(f"{column}: {label}")

    def attempt(
        self,
        label: str,
        call: Callable[[], Any],
        *,
        valid: bool | None = None,
        check: Callable[[Any], bool] | None = None,
        names: str | None = None,
        seconds: float = PATIENCE,
    ) -> Any:
        """Count a call and return its result, None if it raised.

        ``valid`` says whether the call has to be answered (True), refused (False), or may be either (None). ``check``
        says whether an answer is right; ``names`` is a word that the refusal of an invalid call has to contain.
        """
        try:
            with time_limit(seconds):
                result = call()
        except (EditkitError, Cancelled) as error:
            self.count(*self._judge_refusal(label, error, valid, names))
        except Hung:
            self.count("hung", label)
        except BaseException as error:
            self.count("untyped", f"{label}: {type(error).__name__}: {str(error)[:200]}")
            if isinstance(error, KeyboardInterrupt):
                raise
        else:
            if valid is False:
                self.count("silent wrong", f"{label}: answered")
            elif check is not None and not check(result):
                self.count("silent wrong", f"{label}: answered wrongly")
            else:
                self.count("right")
            return result
        return None

    @staticmethod
    def _judge_refusal(label: str, error: Exception, valid: bool | None, names: str | None) -> tuple[str, str]:
        text = str(error)
        if valid is True:
            return "silent wrong", f"{label}: refused though valid: {text[:200]}"
        if not text.strip() or len(text.splitlines()) != 1 or len(text) > 3000:
            return "untyped", f"{label}: an error that is not one line: {text[:200]!r}"
        if names is not None and names not in text:
            return "silent wrong", f"{label}: the error does not name {names!r}: {text[:200]}"
        return "refused", ""

    def verify(self) -> None:
        """Fail if a case ended in any other way than refused or right."""
        assert self.counts["tried"], f"{self.probe} tried nothing"
        shown = "\n".join(f"  {fault}" for fault in self.faults[:40])
        assert not self.faults, f"{self.probe}: {len(self.faults)} of {self.counts['tried']} cases\n{shown}"


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise Hung in the block after ``seconds``; in threads other than the main one there is no limit."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise Hung

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def table(rows: Iterable[Mapping[str, Any]]) -> Sequence[str]:
    """Return lines of a Markdown table of probes, the sum in the last one."""
    rows = sorted(rows, key=lambda row: str(row["probe"]))
    total = {"probe": "all", **{column: sum(row[column] for row in rows) for column in COLUMNS}}
    lines = ["| probe | " + " | ".join(COLUMNS) + " |", "| --- |" + " ---: |" * len(COLUMNS)]
    for row in (*rows, total):
        lines.append(f"| {row['probe']} | " + " | ".join(f"{row[column]:,}" for column in COLUMNS) + " |")
    return lines
