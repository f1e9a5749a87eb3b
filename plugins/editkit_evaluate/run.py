"""One run of an evaluation: edits that are not stored yet, and measures of all."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Iterator
from typing import Any

from PIL import Image
from tqdm import tqdm

from editkit import Backend, Cancelled, EditkitError, Result, __version__, edit_rows, evaluation

from . import EvaluateParams
from .metrics import Metrics
from .summary import BOUND, Outcome


@dc.dataclass
class Run:
    """One run of an evaluation, with its outcomes so far."""

    params: EvaluateParams
    dataset: evaluation.Dataset
    metrics: Metrics
    store: evaluation.EditStore
    outcomes: dict[str, list[Outcome]] = dc.field(default_factory=dict)
    """Outcomes by method, of the bound first."""
    failures: list[dict[str, str]] = dc.field(default_factory=list)
    """Method, case and reason of each edit that failed."""
    error: EditkitError | None = None
    """The first failure."""
    models: list[str] = dc.field(default_factory=list)
    """Names of the models of the methods."""

    def measure_bound(self, method: evaluation.EditMethod) -> None:
        """Measure the autoencoder's round trips by the model of a method."""
        model = evaluation.open_model(self.params, method.operation)
        self.outcomes[BOUND] = [
            self._measure(self._bound_name(model), place, case, self._round_trip(case, model), model)
            for place, case in self._cases(BOUND)
        ]

    def measure_method(self, method: evaluation.EditMethod) -> None:
        """Edit and measure every case by a method; an edit that fails is noted."""
        model = evaluation.open_model(self.params, method.operation)
        self.models.append(model.name)
        failed = self._edit_together(method, model) if self.params.batch > 1 else {}
        self.outcomes[method.text] = []
        for place, case in self._cases(method.text):
            try:
                if case.name in failed:
                    raise failed[case.name]
                outcome = self._measure(method.text, place, case, self._edit(method, case, model), model)
            except Cancelled:
                raise
            except EditkitError as error:
                self.error = self.error or error
                self.failures.append({"method": method.text, "case": case.name, "reason": str(error)})
            else:
                self.outcomes[method.text].append(outcome)

    def _edit_together(self, method: evaluation.EditMethod, model: Backend) -> dict[str, EditkitError]:
        """Store the edits that are missing, several in one network call, and return the errors by case."""
        started: list[tuple[str, str]] = []
        failed: dict[str, EditkitError] = {}
        rows = self._missing_rows(method, model, started, failed)
        for number, outcome in edit_rows(rows, model=model, batch=self.params.batch, cache=False):
            name, key = started[number]
            if isinstance(outcome, Cancelled):
                raise outcome
            if isinstance(outcome, EditkitError):
                failed[name] = outcome
            elif isinstance(outcome, Result):
                self.store.put(method.text, name, key, outcome.image, _figures(outcome))
        return failed

    def _missing_rows(
        self,
        method: evaluation.EditMethod,
        model: Backend,
        started: list[tuple[str, str]],
        failed: dict[str, EditkitError],
    ) -> Iterator[dict[str, Any]]:
        """Yield the edits that are not stored as rows; ``started`` gets name and key of each, ``failed`` the errors."""
        for _, case in self._cases(f"{method.text}, edits"):
            key = self._edit_key(method, case, model)
            if self.store.holds(method.text, case.name, key):
                continue
            try:
                row = method.row(case, model.provides, self.params.seed)
            except EditkitError as error:
                failed[case.name] = error
                continue
            started.append((case.name, key))
            yield row

    def raise_if_none_succeeded(self) -> None:
        """Raise the first failure if no edit succeeded."""
        if self.error is not None and not any(each for name, each in self.outcomes.items() if name != BOUND):
            raise self.error

    def _cases(self, label: str) -> Iterator[tuple[int, evaluation.Case]]:
        """Yield the cases with their places, one at a time, with a bar on standard error if that is a terminal."""
        count = min(len(self.dataset), self.params.limit or len(self.dataset))
        for place in tqdm(range(count), desc=label[:40], disable=None, leave=False):
            yield place, self.dataset[place]

    def _round_trip(self, case: evaluation.Case, model: Backend) -> evaluation.EditRecord:
        """Return the autoencoder round trip of the true outcome of a case, or of its image if that is unknown."""
        image = case.image if case.truth is None else case.truth
        key = evaluation.edit_key(**_model_key(model), case=case.digest)
        return self.store.get(
            self._bound_name(model), case.name, key, lambda: (evaluation.autoencoder_round_trip(image, model), {})
        )

    @staticmethod
    def _bound_name(model: Backend) -> str:
        return f"{BOUND} {model.identity}"

    def _edit(self, method: evaluation.EditMethod, case: evaluation.Case, model: Backend) -> evaluation.EditRecord:
        """Return the stored edit of a case, else edit it alone."""

        def compute() -> tuple[Image.Image, dict[str, Any]]:
            result = method.edit(case, model, self.params.seed)
            return result.image, _figures(result)

        return self.store.get(method.text, case.name, self._edit_key(method, case, model), compute)

    def _edit_key(self, method: evaluation.EditMethod, case: evaluation.Case, model: Backend) -> str:
        """Return the hash of all that an edit depends on: its bits differ between edits alone and in batches."""
        values = {name: value for name, value in dc.asdict(method).items() if name != "text"}
        shared = self.params.batch > 1
        return evaluation.edit_key(
            **_model_key(model), **values, case=case.digest, seed=self.params.seed, shared_calls=shared
        )

    def _measure(
        self, name: str, place: int, case: evaluation.Case, record: evaluation.EditRecord, model: Backend
    ) -> Outcome:
        bound = None if case.truth is None else self._round_trip(case, model).image
        measures = self.store.measure(
            name, case.name, record, self.metrics.definitions, lambda: self.metrics.measure(case, record.image, bound)
        )
        figures = record.figures
        warnings = tuple(figures.get("warnings", ()))
        return Outcome(place, case.name, case.group, measures, figures.get("network_samples"), warnings)


def _model_key(model: Backend) -> dict[str, str]:
    return {"model": model.identity, "dtype": str(model.dtype), "version": __version__}


def _figures(result: Result) -> dict[str, Any]:
    """Return the figures of a report that a record holds."""
    names = ("network_calls", "network_samples", "seconds", "warnings")
    return {name: getattr(result.report, name) for name in names}
