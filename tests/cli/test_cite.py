"""``editkit cite``: BibTeX of editkit and of the methods of a recipe, each paper declared once beside its method."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

import editkit
from editkit.cli import main
from editkit.cli.facts.citations import own_citation
from editkit.registry.registry import KINDS, installed
from editkit.testing import ToyBackend

ROOT = Path(__file__).parents[2]
SPECS = [spec for kind in KINDS for spec in installed().specs[kind].values()]


def cite(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["cite", *map(str, words)])


def entries(*words: str | Path) -> dict[str, Any]:
    result = cite(*words, "--json")
    assert result.exit_code == 0, result.output
    return {name: entry for entry in json.loads(result.stdout)["entries"] for name in entry["used_for"]}


def test_every_paper_is_declared_once_beside_a_method_with_its_address() -> None:
    published = {spec.source for spec in SPECS if "arxiv.org/abs/" in spec.source or "doi.org/" in spec.source}
    declared = Counter(spec.source for spec in SPECS if spec.paper is not None)
    assert set(declared) == published and set(declared.values()) == {1}
    for paper in (spec.paper for spec in SPECS if spec.paper is not None):
        assert 1980 < paper.year < 2100 and paper.title.strip(" .") == paper.title
        assert all(len(name.split()) > 1 or name == "others" for name in paper.authors.split(" and "))


def test_the_entry_of_editkit_agrees_with_its_citation_file() -> None:
    citation, fields = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8")), own_citation().fields
    assert fields["title"].startswith(f"{citation['title']}: ")
    assert fields["author"].strip("{}") == citation["authors"][0]["name"]
    assert citation["version"] in fields["note"] and citation["license"] in fields["note"]


def test_a_recipe_gives_the_papers_of_its_operation_and_names(tmp_path: Path, random_image: Any) -> None:
    values = {"source": "a", "target": "b", "steps": 2, "inverter": "edict:mixing=0.9"}
    file = tmp_path / "edit.png"
    editkit.apply(
        "prompt-edit", random_image((16, 16)), model=ToyBackend(), cache=False, guidance_rescale=0.5, **values
    ).save(file)
    found = entries(file)
    assert found["inverter edict"]["eprint"] == "2211.12446" and "Wallace" in found["inverter edict"]["author"]
    assert found["operation prompt-edit"]["title"].startswith("Direct Inversion")
    assert "sampler ddim" not in found, "edict replays by steps of its own"
    assert found["parameter guidance_rescale"]["eprint"] == "2305.08891"
    text = cite(file).stdout
    assert "licence unknown here" in text and text.count("@misc{") == len({entry["key"] for entry in found.values()})


def test_names_are_cited_without_a_file() -> None:
    found = entries("edict", "ddim")
    assert found["inverter ddim"] is not None and found["inverter ddim"]["used_for"] == [
        "inverter ddim",
        "sampler ddim",
    ]
    assert cite("edikt").exit_code == 2 and "edict" in cite("edikt").stderr


@pytest.mark.model
def test_an_inversion_gives_its_method_and_the_licence_of_its_model(tmp_path: Path, random_image: Any) -> None:
    file = tmp_path / "noise.safetensors"
    editkit.invert(random_image((16, 16)), steps=1, method="belm", cache=False).save(file)
    assert entries(file)["inverter belm"]["year"] == "2024"
    assert "model emoji: licence Apache-2.0" in cite(file).stdout
    assert "model family stable-diffusion" in cite(file).stdout
