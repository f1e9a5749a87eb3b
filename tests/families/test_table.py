"""The table of families is complete: a class of pipelines that a later diffusers adds is reported by name."""

from __future__ import annotations

import json

from families.measure import GUIDED, RESULTS, UNGUIDED
from families.pipelines import IMAGES, MIXED, OTHERS, image_pipelines, package_of, pipelines, unlisted
from families.tables import FAMILIES, REFUSED, SERVED

ROWS = json.loads(RESULTS.read_text(encoding="utf-8"))


def test_every_pipeline_of_diffusers_is_listed_as_one_of_images_or_excluded_with_a_reason() -> None:
    assert unlisted() == [], "sort their packages into families/pipelines.py, and add a tiny folder for images"
    assert not IMAGES & OTHERS.keys()
    assert set(map(package_of, pipelines().values())) <= IMAGES | OTHERS.keys() | MIXED


def test_the_results_have_a_row_of_every_pipeline_of_images_and_of_every_family() -> None:
    measured = {row["pipeline"] for row in ROWS}
    assert set(image_pipelines()) - measured == set(), "run python tests/families/measure.py"
    assert {row["family"] for row in ROWS if "family" in row} == set(FAMILIES)


def test_every_family_is_served_with_its_own_images_or_refused_with_a_reason() -> None:
    """In the results; the tests of families compare them again."""
    rows = {row["family"]: row for row in ROWS if "family" in row}
    assert all(rows[name]["reason"] for name in REFUSED)
    assert [name for name in SERVED if "backend" not in rows[name]] == []
    assert max(row.get(kind, 0.0) for row in ROWS for kind in (UNGUIDED, GUIDED)) <= 1e-4
    assert len({row["pipeline"] for row in rows.values() if "backend" in row}) >= 42
