"""Lines of standard output, one for each result in the order of the inputs, and the count of results."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..errors import format_error
from ..outputs.printing import json_text, print_bytes, print_warnings

SELDOM = 10.0
"""Seconds between two counts where standard error is no terminal."""


class OutputLines:
    """Lines of results that may end in another order: a line waits until those of earlier results are printed."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.waiting: dict[int, tuple[bytes, Sequence[str]]] = {}
        self.following = 0
        """Place of the line to print next."""

    def written(self, place: int, name: str, target: Path, report: Mapping[str, Any]) -> None:
        """Add the report of a result of the input ``name``, or the path of its file."""
        if self.as_json:
            self._add_object(place, {"input": name or None, **report, "output": str(target)})
        else:
            # Bytes, since a file name need not be valid text.
            self._add(place, os.fsencode(target) + b"\n", report["warnings"])

    def failed(self, place: int, name: str, error: BaseException) -> None:
        """Add the error of a result; with paths it has no line."""
        message = " ".join(format_error(error, verbose=False)[0].splitlines())
        described = {"error": type(error).__name__, "message": message}
        self._add_object(place, {"input": name or None, "output": None, **described})

    def skipped(self, place: int, name: str, target: Path) -> None:
        """Add a result that is not computed because its file exists; with paths it has no line."""
        self._add_object(place, {"input": name or None, "output": str(target), "skipped": True})

    def is_added(self, place: int) -> bool:
        """Whether a result has a line already."""
        return place < self.following or place in self.waiting

    def print_rest(self) -> None:
        """Print all lines that wait, although results before them are missing."""
        for place in sorted(self.waiting):
            self._print(*self.waiting.pop(place))

    def _add_object(self, place: int, value: Mapping[str, Any]) -> None:
        self._add(place, json_text(value).encode() + b"\n" if self.as_json else b"")

    def _add(self, place: int, line: bytes, warnings: Sequence[str] = ()) -> None:
        self.waiting[place] = line, warnings
        while self.following in self.waiting:
            entry = self.waiting.pop(self.following)
            self.following += 1
            self._print(*entry)

    def _print(self, line: bytes, warnings: Sequence[str]) -> None:
        if line:
            print_bytes(line)
        print_warnings(warnings)


class Count:
    """Number of results so far and the time left, on standard error; nothing for a single result.

    ``done`` of ``total`` results have ended already. Results end in groups of ``batch``, of which each takes about as
    long.
    """

    def __init__(self, total: int, done: int = 0, batch: int = 1) -> None:
        self.total, self.before, self.done, self.batch = total, done, done, batch
        self.start = self.shown = time.monotonic()
        self.is_shown = False

    def add(self) -> None:
        """Count a result, and print the count: on a terminal always, in a file from time to time."""
        self.done += 1
        now, terminal, is_last = time.monotonic(), sys.stderr.isatty(), self.done == self.total
        if self.total == 1 or not (terminal or (is_last and self.is_shown) or now - self.shown > SELDOM):
            return
        self.shown, self.is_shown = now, True
        text = f"{self.done} of {self.total}" + ("" if is_last else f", {format_seconds(self._left(now))} left")
        click.echo(f"\r{text:<40}\r" if terminal and not is_last else text, err=True, nl=not terminal or is_last)

    def _left(self, now: float) -> float:
        """Return the seconds left, by the groups that have begun to end."""
        ended = math.ceil((self.done - self.before) / self.batch) * self.batch
        return (now - self.start) / ended * max(0, self.total - self.before - ended)


def format_seconds(seconds: float) -> str:
    """Return a time in words: seconds, minutes or hours."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
