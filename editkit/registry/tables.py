"""Tables: the results of commands that measure."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Mapping, Sequence
from typing import Any


@dc.dataclass(frozen=True)
class Estimate:
    """A mean, median or rate of a sample, with its 95 % interval."""

    value: float
    low: float | None
    high: float | None
    """Ends of the interval; None if it is not defined."""
    count: int
    """Number of values in the estimate."""
    total: int | None = None
    """Size of the sample, if some of it have no value."""

    def __str__(self) -> str:
        interval = "" if self.low is None else f" ({self.low:.3g} to {self.high:.3g})"
        part = "" if self.total in (None, self.count) else f", n {self.count}"
        return f"{self.value:.4g}{interval}{part}"


@dc.dataclass(frozen=True)
class Table:
    """Rows with equal columns, and values that hold for all of them."""

    rows: Sequence[Mapping[str, Any]] = dc.field(hash=False)
    """Values by column; every row has all columns."""
    about: Mapping[str, Any] = dc.field(default_factory=dict, hash=False)
    """Values that hold for all rows, by name."""
    more: Mapping[str, Sequence[Mapping[str, Any]]] = dc.field(default_factory=dict, hash=False)
    """Further rows with other columns, by title."""
    exit_status: int = 0
    """Exit status of the command: 2 if some of its inputs failed."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        more = {name: _plain_rows(rows) for name, rows in self.more.items()}
        return {**self.about, "rows": _plain_rows(self.rows), **more}

    def markdown(self) -> str:
        """Markdown tables without columns that are empty in every row."""
        about = ", ".join(f"{name} {_format_cell(value)}" for name, value in self.about.items())
        more = [f"{name}\n\n{_format_rows(rows)}" for name, rows in self.more.items() if rows]
        return "\n\n".join([*([_format_rows(self.rows)] if self.rows else []), *more, *([about] if about else [])])


def _plain_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {name: dc.asdict(value) if isinstance(value, Estimate) else value for name, value in row.items()}
        for row in rows
    ]


def _format_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format rows with equal columns as a Markdown table."""
    columns = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    lines = [columns, ["---"] * len(columns), *([_format_cell(row[name]) for name in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _format_cell(value: Any) -> str:
    """Format a value for a cell: floats to four digits, None as a dash, several values separated by commas."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_format_cell(one)}" for name, one in value.items() if one is not None)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_format_cell, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
