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

    def as_dict(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {**self.about, "rows": [dict(row) for row in self.rows]}

    def markdown(self) -> str:
        """The same for people: a Markdown table, columns that are empty throughout left out."""
        columns = [name for name in self.rows[0] if any(row[name] is not None for row in self.rows)]
        lines = [columns, ["---"] * len(columns), *([written(row[name]) for name in columns] for row in self.rows)]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        said = ", ".join(f"{name} {written(value)}" for name, value in self.about.items())
        return f"{table}\n\n{said}" if said else table


def written(value: Any) -> str:
    """A value as a cell shows it: numbers to four digits, nothing as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
