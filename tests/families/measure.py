"""Measure families and write what editkit does with each pipeline of images.

``python tests/families/measure.py`` measures all of them, with names behind it these.

The result is ``results.json``, from which the reference page of families is generated.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from editkit_diffusers.comparison import compare_pipeline
from editkit_diffusers.universal.loading import pipeline_class

import editkit
from editkit import EditkitError
from editkit.model.finding import family_of_class
from editkit.registry.registry import installed
from families.family import Family
from families.pipelines import image_pipelines
from families.tables import FAMILIES, SERVED

RESULTS = Path(__file__).with_name("results.json")
UNGUIDED, GUIDED = "unguided", "guided"


def measure(family: Family) -> dict[str, Any]:
    """Return what becomes of a family's folder: the largest differences to its own pipeline, or the refusal."""
    pipeline = family.pipeline()
    name = type(pipeline).__name__
    try:
        with tempfile.TemporaryDirectory() as folder:
            editkit.load_model(family.write(Path(folder) / "model"))
        differences = list(compare_pipeline(pipeline, family.size)) if family.name in SERVED else []
    except EditkitError as error:
        return {"pipeline": name, "reason": reason_in(error)}
    pairs = zip((UNGUIDED, GUIDED), (difference for _, difference in differences), strict=False)
    return {"pipeline": name, "backend": backend_of(name), **{kind: round_up(value) for kind, value in pairs}}


def reason_in(error: EditkitError) -> str:
    """Return the reason of a refusal, without the model's name before it."""
    before, _, reason = str(error).partition("not supported: ")
    return reason or before.removesuffix(": it is not supported")


def round_up(difference: float) -> float:
    """Return the next power of ten: machines differ in less."""
    return 0.0 if difference == 0 else next(10.0**power for power in range(-7, 9) if difference <= 10.0**power)


def backend_of(pipeline: str) -> str:
    return family_of_class(installed(), pipeline, "the model").name


def untried(pipeline: str, universal: Collection[str]) -> dict[str, Any]:
    """Return what editkit does with a class of which there is no tiny folder: by the class alone.

    ``universal`` are the classes that the backend of last resort was seen to serve.
    """
    backend = backend_of(pipeline)
    if backend != "universal":
        return {"pipeline": pipeline, "backend": backend}
    try:
        kind = pipeline_class(pipeline, "it").__name__
    except EditkitError as error:
        return {"pipeline": pipeline, "reason": reason_in(error)}
    return {"pipeline": pipeline, **({"backend": backend, "as": kind} if kind in universal else {})}


def main(names: list[str]) -> None:
    """Measure these families anew and keep the rows of the others, or measure all."""
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if names else []
    rows = {row["family"]: row for row in kept if "family" in row}
    for family in FAMILIES.values():
        if family.importable and (not names or family.name in names):
            rows[family.name] = {"family": family.name, **measure(family)}
    ordered = [rows[name] for name in FAMILIES if name in rows]
    others = sorted(set(image_pipelines()) - {row["pipeline"] for row in ordered})
    universal = {row["pipeline"] for row in ordered if row.get("backend") == "universal"}
    ordered += [untried(pipeline, universal) for pipeline in others]
    RESULTS.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
