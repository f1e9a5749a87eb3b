"""Edit a data set by several methods, measure every result, and write the table, the JSON and the sheet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from editkit import InvalidParameter, Table, evaluation, save_picture

from . import EvaluateParams
from .metrics import Metrics
from .run import Run
from .sheet import Row, edit_sheet
from .summary import BOUND, rank, results_json, results_table

RANKED_BY = ("psnr_truth", "leakage", "psnr_unedit_part", "gradient")
"""Measures that rank the edits in the sheet; the first that is measured."""


def evaluate(params: EvaluateParams) -> Table:
    """Edit and measure every case by every method, and write table, JSON and sheet to the output folder.

    Each edit is stored as soon as it is finished. An edit that fails does not stop the others, and is tried again by
    the next run. Raises an EditkitError before any edit for a method, a folder or an option that is not allowed, and
    the first error of an edit if none succeeds.
    """
    dataset = evaluation.open_dataset(params.dataset, Path(params.folder))
    floor = [] if dataset.floor is None else [dataset.floor]
    methods = [evaluation.EditMethod.parse(text) for text in dict.fromkeys([*floor, *params.method])]
    for method in methods:
        method.check(dataset[0], params.seed)
    run = Run(params, dataset, Metrics(params), evaluation.EditStore(Path(params.output)))
    run.measure_bound(methods[0])
    measure = _ranking(run)
    for method in methods:
        run.measure_method(method)
    run.raise_if_none_succeeded()
    table = results_table(run)
    run.store.write("table.md", f"{table.markdown()}\n".encode())
    run.store.write("results.json", results_json(table))
    rows = list(_sheet_rows(run, measure)) if measure and params.sheet_rows else []
    if rows:
        save_picture(edit_sheet(rows), run.store.folder / "sheet.png")
    return table


def _ranking(run: Run) -> str | None:
    """Return the measure that ranks the edits; raises InvalidParameter for one that is not measured."""
    names = [name for name in run.outcomes[BOUND][0].measures if name != "unchanged"]
    chosen = run.params.rank_by
    if chosen is not None and chosen not in names:
        raise InvalidParameter(f"rank_by={chosen!r} is not measured: one of {', '.join(names)}")
    return chosen or next((name for name in RANKED_BY if name in names), None)


def _sheet_rows(run: Run, measure: str) -> Iterator[Row]:
    """Yield the best edit of each method and the worst, then the next ones of both."""
    for method, outcomes in run.outcomes.items():
        if method == BOUND:
            continue
        for kind, outcome in rank(outcomes, measure, run.params.sheet_rows):
            label = f"{kind}, {measure} {outcome.measures[measure]:.4g}: {method}"
            yield label, run.dataset[outcome.place], run.store.image(method, outcome.case)
