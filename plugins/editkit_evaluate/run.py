"""One run of an evaluation: edits that are not stored yet, and measures of all."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Iterator, Mapping
from typing import Any

from PIL import Image
from tqdm import tqdm

from editkit import Backend, Cancelled, EditkitError, __version__, evaluation

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
        self.outcomes[method.text] = []
        for place, case in self._cases(method.text):
            try:
                outcome = self._measure(method.text, place, case, self._edit(method, case, model), model)
            except Cancelled:
                raise
            except EditkitError as error:
                self.error = self.error or error
                self.failures.append({"method": method.text, "case": case.name, "reason": str(error)})
            else:
                self.outcomes[method.text].append(outcome)

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
        seed = self.params.seed
        values = {name: value for name, value in dc.asdict(method).items() if name != "text"}
        key = evaluation.edit_key(**_model_key(model), **values, case=case.digest, seed=seed)

        def compute() -> tuple[Image.Image, Mapping[str, Any]]:
            result = method.edit(case, model, seed)
            names = ("network_calls", "network_samples", "seconds", "warnings")
            return result.image, {name: getattr(result.report, name) for name in names}

        return self.store.get(method.text, case.name, key, compute)

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
