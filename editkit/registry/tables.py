"""Tables: what a command answers that measures instead of making a picture."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Mapping, Sequence
from typing import Any


@dc.dataclass(frozen=True)
class Table:
    """Rows of one shape, and what is true of all of them."""

    rows: Sequence[Mapping[str, Any]]
    about: Mapping[str, Any] = dc.field(default_factory=dict)
    more: Mapping[str, Sequence[Mapping[str, Any]]] = dc.field(default_factory=dict)
    """Rows of other shapes, by what they are about."""

    def as_dict(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        more = {name: [dict(row) for row in rows] for name, rows in self.more.items()}
        return {**self.about, "rows": [dict(row) for row in self.rows], **more}

    def markdown(self) -> str:
        """The same for people: Markdown tables, columns that are empty throughout left out."""
        said = ", ".join(f"{name} {written(value)}" for name, value in self.about.items())
        more = [f"{name}\n\n{ruled(rows)}" for name, rows in self.more.items() if rows]
        return "\n\n".join([*([ruled(self.rows)] if self.rows else []), *more, *([said] if said else [])])


def ruled(rows: Sequence[Mapping[str, Any]]) -> str:
    """One table."""
    columns = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    lines = [columns, ["---"] * len(columns), *([written(row[name]) for name in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def written(value: Any) -> str:
    """A value as a cell shows it: numbers to four digits, nothing as a dash, several values side by side."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {written(one)}" for name, one in value.items() if one is not None)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(written, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
