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
SLOWEST = "ideogram4"
"""Its 36 layers of text take as long as ten others."""
REPEATED = {
    *("chroma", "flux", "flux-schnell", "flux2-klein", "flux2-klein-base", "FluxFillPipeline", "FluxKontextPipeline"),
    *("krea2-turbo", "latent-consistency", "pixart-alpha", "sana-dpm", "stable-diffusion", "stable-diffusion-3"),
    *("stable-diffusion-xl", "z-image-turbo"),
}
"""Families with the network of another one in the list: the script of the table measures them."""


@pytest.mark.parametrize("name", sorted({*NAMES} - REPEATED - {SLOWEST}))
def test_each_control_works_or_is_refused_as_the_table_says(name: str, tmp_path: Path) -> None:
    assert measure(name, tmp_path / "model") == ROWS[name]


def test_the_table_has_every_control_and_no_other_family() -> None:
    assert all(set(CONTROLS) <= row.keys() for row in ROWS.values())
    assert set(NAMES) <= ROWS.keys()
    assert sum(row[control] == WORKS for row in ROWS.values() for control in CONTROLS) > 2 * len(ROWS)
