"""Summarise the measures of many results: means, medians and rates with intervals, by method and by kind of edit."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from editkit import Estimate, Table, __version__, evaluation

from .metrics import Measures

if TYPE_CHECKING:
    from .run import Run

MEDIANS = ("progress", "collateral")
"""Measures with so long tails that their median is reported."""
RATES = ("success", "success_round_trip")
LOWER_IS_BETTER = ("mse", "lpips", "leakage", "structure", "collateral")
"""Beginnings of the names of measures of which a lower value is better."""
INSIDE = ("_inside", "_edit_part")
"""Ends of the names of measures of the edited part, which have a table of their own."""
MOST_WARNINGS = 5
"""Warnings of each method in the table."""
BOUND = "autoencoder round trip"
"""Name of the row of the bound."""


class Outcome(NamedTuple):
    """One edit of an evaluation."""

    place: int
    """Place of the case in the data set."""
    case: str
    group: str
    measures: Measures
    network_samples: int | None
    """Rows of all network calls; None for the round trip."""
    warnings: tuple[str, ...] = ()
    """Warnings of the edit's report."""


def results_table(run: Run) -> Table:
    """Return the row of each method, rows by kind of edit if there are several, and the failures."""
    params, dataset = run.params, run.dataset
    groups = sorted({outcome.group for outcomes in run.outcomes.values() for outcome in outcomes})
    by_kind = [{"kind": group, **row} for group in groups for row in _rows(run, group)] if len(groups) > 1 else []
    about = {
        "data": f"{params.dataset} {Path(params.folder).name}",
        "definitions": "those of the published code" if params.as_published else "those of editkit",
        "models": ", ".join(dict.fromkeys(run.models)),
        "seed": params.seed,
        "version": __version__,
    }
    notes = {"warnings": "; ".join(dataset.warnings)} if dataset.warnings else {}
    rows = _align(_rows(run, None))
    more = {
        "Inside the mask": [_select(row, inside=True) for row in rows],
        f"Paired differences to {run.params.method[0]}": _difference_rows(run),
        "By kind of edit": [_select(row, inside=False) for row in _align(by_kind)],
        "Warnings": _warning_rows(run),
        "Failed, and tried again by the next run": run.failures,
    }
    more = {title: part for title, part in more.items() if part and len(part[0]) > 1}
    return Table([_select(row, inside=False) for row in rows], about | notes, more)


def _select(row: Mapping[str, Any], *, inside: bool) -> dict[str, Any]:
    """Return the columns of a row that belong to the edited part, or all others; both begin with the method."""
    return {name: value for name, value in row.items() if name.endswith(INSIDE) == inside or name == "method"}


def _warning_rows(run: Run) -> list[dict[str, Any]]:
    """Return the most frequent warnings of each method with the number of its edits that have them."""
    rows = []
    for method, outcomes in run.outcomes.items():
        counts = Counter(warning for outcome in outcomes for warning in outcome.warnings)
        ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
        rows += [{"method": method, "edits": count, "warning": text} for text, count in ordered[:MOST_WARNINGS]]
        if ordered[MOST_WARNINGS:]:
            others = f"{len(ordered) - MOST_WARNINGS} other warnings: see the records of the edits"
            rows.append({"method": method, "edits": None, "warning": others})
    return rows


def _difference_rows(run: Run) -> list[dict[str, Any]]:
    """Return the mean differences of the measures of each further method to the first one, on the same cases."""
    first, *others = run.params.method
    return _align([_difference_row(name, run.outcomes[name], run.outcomes[first]) for name in others])


def _difference_row(name: str, outcomes: Sequence[Outcome], first: Sequence[Outcome]) -> dict[str, Any]:
    before = {outcome.case: outcome.measures for outcome in first}
    pairs = [(before[one.case], one.measures) for one in outcomes if one.case in before]
    row: dict[str, Any] = {"method": name, "n": len(pairs)}
    for measure in dict.fromkeys(each for _, measures in pairs for each in measures):
        if measure != "unchanged" and not measure.endswith(INSIDE):
            row[measure] = evaluation.mean_of(
                [_difference(one.get(measure), other.get(measure)) for one, other in pairs]
            )
    return row


def _difference(first: float | None, other: float | None) -> float | None:
    """Return the difference of two values; None if one is not defined, or both are infinite."""
    if first is None or other is None or (math.isinf(first) and math.isinf(other)):
        return None
    return float(other) - float(first)


def _rows(run: Run, group: str | None) -> list[dict[str, Any]]:
    """Return the rows of the methods that have outcomes in a group; of all groups for None."""
    selected = {
        name: [one for one in outcomes if group in (None, one.group)] for name, outcomes in run.outcomes.items()
    }
    floor = run.dataset.floor
    rows = []
    for name, outcomes in selected.items():
        label = f"blind floor ({name})" if name == floor else name
        failed = sum(one["method"] == name for one in run.failures) if group is None else 0
        if outcomes:
            rows.append(_summary_row(label, outcomes, failed, selected[floor] if floor else None))
    return rows


def _summary_row(
    name: str, outcomes: Sequence[Outcome], failed: int, floor: Sequence[Outcome] | None
) -> dict[str, Any]:
    """Return the row of a method: its number of edits, and an estimate of each measure.

    ``floor`` are the outcomes of the method without the image; both must succeed on a case for the gain over it.
    """
    names = dict.fromkeys(name for outcome in outcomes for name in outcome.measures)
    values = {name: [outcome.measures.get(name) for outcome in outcomes] for name in names}
    row: dict[str, Any] = {"method": name, "n": len(outcomes), "failed": failed or None}
    unchanged = sum(bool(value) for value in values.pop("unchanged", []))
    row["unchanged"] = unchanged or None
    for measure, each in values.items():
        row[measure] = _estimate(measure, each)
        if measure == "success" and floor is not None:
            row["gain_over_floor"] = _gain(outcomes, floor)
    samples = [outcome.network_samples for outcome in outcomes if outcome.network_samples is not None]
    row["network_samples"] = float(np.median(samples)) if samples else None
    return row


def _estimate(measure: str, values: Sequence[Any]) -> Estimate | None:
    if measure in RATES:
        return evaluation.rate([bool(value) for value in values if value is not None])
    if measure in MEDIANS:
        return _median([value for value in values if value is not None])
    return evaluation.mean_of(values)


def _median(values: Sequence[float]) -> Estimate | None:
    """Return the median of values; a single one has no interval."""
    if len(values) < 2:
        return evaluation.mean_of(values)
    return evaluation.bootstrap(evaluation.median, np.array(values, dtype=np.float64))


def _gain(outcomes: Sequence[Outcome], floor: Sequence[Outcome]) -> Estimate | None:
    """Return the gain in success over the floor on the cases that both have; None for the floor itself."""
    under = {outcome.case: bool(outcome.measures["success"]) for outcome in floor}
    pairs = [(bool(one.measures["success"]), under[one.case]) for one in outcomes if one.case in under]
    if outcomes is floor or len(pairs) < 2:
        return None
    return evaluation.gain(*zip(*pairs, strict=True))


def _align(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with the columns of all of them, None where one has no value."""
    columns = list(dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row))
    return [{name: row.get(name) for name in columns} for row in rows]


def rank(outcomes: Sequence[Outcome], measure: str, count: int) -> list[tuple[str, Outcome]]:
    """Return up to ``count`` pairs of a good and a bad outcome by a measure, the best and the worst first.

    No outcome is in two pairs, and those without the measure are in none.
    """
    defined = [outcome for outcome in outcomes if outcome.measures.get(measure) is not None]
    lower = measure.startswith(LOWER_IS_BETTER)
    ordered = sorted(defined, key=lambda one: (float(one.measures[measure] or 0), one.case), reverse=not lower)
    if len(ordered) == 1:
        return [("only", ordered[0])]
    half = min(count, len(ordered) // 2)
    pairs = zip(ordered[:half], ordered[::-1][:half], strict=True)
    return [entry for best, worst in pairs for entry in (("best", best), ("worst", worst))]


def results_json(table: Table) -> bytes:
    """Return a table as JSON, in which infinity is the text ``inf``: null is a measure that is not defined."""
    return json.dumps(_plain(table.as_dict()), indent=1, allow_nan=False).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value
