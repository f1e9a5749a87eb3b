"""Standard output and error: bytes, warnings, JSON, and sizes as text."""

from __future__ import annotations

import contextlib
import io
import json
import math
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import click

from ...errors import EditkitError

if TYPE_CHECKING:
    from PIL import Image

    LabelledImage = tuple[str, Image.Image]


@contextlib.contextmanager
def shown_loading(name: str) -> Iterator[None]:
    """Show on standard error, if it is a terminal, that a model is loaded while the block runs."""
    if not sys.stderr.isatty():
        yield
        return
    from tqdm import tqdm

    with tqdm(desc=f"loading model {name}", bar_format="{desc}", file=sys.stderr, leave=False):
        yield


class ClosedOutput(io.TextIOBase):
    """Standard output that is closed, for which Python has None: what is printed to it would be lost in silence."""

    @property
    def buffer(self) -> io.RawIOBase:
        raise EditkitError("standard output cannot be written: it is closed")

    def write(self, text: str) -> int:
        raise EditkitError("standard output cannot be written: it is closed")


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a standard stream is a terminal; one that is closed is None."""
    return stream is not None and not stream.closed and stream.isatty()


def print_bytes(data: bytes) -> None:
    """Write bytes to standard output; raises EditkitError if it is full or closed, but not for a closed pipe."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is closed"
        raise EditkitError(f"standard output cannot be written: {reason}") from error


def print_warnings(warnings: Sequence[str]) -> None:
    """Print each warning on standard error in a line."""
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)


def json_option() -> click.Option:
    """Return the ``--json`` option of a command that prints a table."""
    return click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON object.")


def json_text(value: Any) -> str:
    """Return one line of JSON; NaN and infinity become null."""
    return json.dumps(_replace_nonfinite(value), allow_nan=False, default=str)


def _replace_nonfinite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _replace_nonfinite(entry) for key, entry in value.items()}
    return [_replace_nonfinite(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def size_text(count: int) -> str:
    """Return a number of bytes in GB, MB or kB."""
    unit, divisor = next(((unit, size) for unit, size in (("GB", 1e9), ("MB", 1e6)) if count >= size), ("kB", 1e3))
    return f"{count / divisor:.3g} {unit}"
