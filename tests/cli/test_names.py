"""``editkit inverters``, ``samplers``, ``describe``, ...: computed from the registry, complete, without torch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from click.testing import CliRunner, Result

import editkit
from editkit.cli import main
from editkit.cli.facts.names import LISTED
from editkit.registry.registry import COMMANDS, installed

NAMES = [(kind, name) for kind in LISTED for name in sorted(installed().specs[kind])]


def call(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def facts(*words: str) -> Any:
    result = call(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_names_of_own_commands_are_reserved() -> None:
    assert sorted(main.commands) == sorted(COMMANDS)


@pytest.mark.parametrize("kind", LISTED)
def test_a_list_has_every_name_with_its_spec_and_options(kind: str) -> None:
    specs = installed().specs[kind]
    rows = {row["name"]: row for row in facts(kind)[kind]}
    assert set(rows) == set(specs)
    table = {line.split()[0]: line for line in call(kind).stdout.splitlines()[1:]}
    assert set(table) == set(specs)
    for name, spec in specs.items():
        assert rows[name]["summary"] == spec.summary and table[name].endswith(spec.summary)
        assert {one["name"] for one in rows[name]["parameters"]} == set(spec.params.model_fields)
        assert ", ".join(spec.params.model_fields) in table[name]


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_a_description_has_options_source_and_a_command_that_takes_the_name(kind: str, name: str) -> None:
    spec, text = installed().specs[kind][name], call(kind, name).stdout
    assert spec.summary in text and spec.source in text
    for option in spec.params.model_fields:
        assert f"        {option}: " in text
    example = facts(kind, name)["example"].split()
    assert example[:1] == ["editkit"] and example[1] in {
        *installed().specs["operations"],
        *installed().specs["commands"],
    }
    assert example[-1].partition(":")[0].strip("'") == name
    assert ("--mask" in example) == (kind == "segmenters" or getattr(spec, "needs_mask", False))


def test_describe_finds_all_kinds_of_a_name() -> None:
    assert {entry["kind"] for entry in facts("describe", "ddim")["entries"]} == {"inverter", "sampler"}
    assert facts("describe", "edict") | {"kind": "inverter"} == {"kind": "inverter", **facts("inverters", "edict")}


@pytest.mark.parametrize("command", ["describe", "cite", "check"])
def test_an_unknown_name_is_refused_with_the_nearest_and_the_command_for_all(command: str) -> None:
    near, far = call(command, "promt-edit"), call(command, "qqqqq")
    assert near.exit_code == far.exit_code == 2
    assert "did you mean 'prompt-edit'" in near.stderr and near.stderr.endswith("? 'editkit plugins' lists all names\n")
    assert far.stderr.endswith("; 'editkit plugins' lists all names\n") and "ddim" not in far.stderr
    assert {*editkit.operations(), *editkit.models()} <= set(re.split(r"[,\s]+", call("plugins").stdout))


def test_cost_and_families_are_in_a_description() -> None:
    edict, kv_edit = facts("inverters", "edict"), facts("controls", "kv-edit")
    assert edict["paper"]["title"].startswith("EDICT") and "paper: EDICT" in call("describe", "edict").stdout
    assert edict["exact"] and edict["calls_per_step"] == "2" and "flux" in edict["families"]
    assert kv_edit["needs"] == ["attention"] and "pixel-ddpm" not in kv_edit["families"] and kv_edit["needs_mask"]


def test_lists_and_descriptions_do_not_import_torch() -> None:
    code = (
        "import sys; from editkit.cli import main\n"
        "for words in (['inverters'], ['describe', 'edict'], ['controls', 'style', '--json']):\n"
        "    try: main(words)\n"
        "    except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'diffusers', 'numpy', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
