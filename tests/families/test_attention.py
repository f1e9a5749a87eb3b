"""Every control of attention on every family does what the reference page says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from families.attention import CONTROLS, NAMES, RESULTS, WORKS, measure

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning"),
]
ROWS = {row["family"]: row for row in json.loads(RESULTS.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"ideogram4"}))  # its 36 layers of text take as long as ten others
def test_each_control_works_or_is_refused_as_the_table_says(name: str, tmp_path: Path) -> None:
    assert measure(name, tmp_path / "model") == ROWS[name]


def test_the_table_has_every_control_and_no_other_family() -> None:
    assert all(set(CONTROLS) <= row.keys() for row in ROWS.values())
    assert set(NAMES) <= ROWS.keys()
    assert sum(row[control] == WORKS for row in ROWS.values() for control in CONTROLS) > 2 * len(ROWS)
