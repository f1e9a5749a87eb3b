"""Help, examples and completion: every command is there, every example is a command, every value is completed."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import editkit
from editkit.cli import main
from editkit.cli.errors import Command
from editkit.cli.facts import findings
from editkit.cli.outputs.printing import shown_loading
from editkit.editing.validation import validate_params
from editkit.registry.params import field_metadata
from editkit.registry.registry import installed

COMMANDS = main.list_commands(click.Context(main))
SAMPLES = Path(__file__).parents[2] / "samples"


def command_of(name: str) -> Command:
    command = main.get_command(click.Context(main), name)
    assert isinstance(command, Command)
    return command


def test_the_overview_has_every_command_once() -> None:
    lines = CliRunner().invoke(main, ["--help"]).stdout.partition("Names for options")[0].splitlines()
    first_words = [line.split()[0] for line in lines if line[:2] == "  " and line[2:3].strip()]
    assert {name: first_words.count(name) for name in COMMANDS} == dict.fromkeys(COMMANDS, 1)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_of_a_command_is_accepted(name: str) -> None:
    command = command_of(name)
    assert f"Example:\n  {command.example}\n" in CliRunner().invoke(main, [name, "--help"]).stdout
    program, own, *words = shlex.split(command.example)
    assert (program, own) == ("editkit", name)
    options = command.make_context(name, words, parent=click.Context(main)).params
    if name in editkit.operations():
        spec = editkit.operations()[name]
        values = {key: options[key] for key in spec.params.model_fields if options[key] not in (None, ())}
        one = {key: value[0] if isinstance(value, tuple) else value for key, value in values.items()}
        validate_params(installed(), spec, one)
    files = [word for word in words if word.endswith(".png") and word not in ("green.png", words[-1])]
    assert all((SAMPLES / file).is_file() for file in files)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("img2img --sampler dpmpp-2", {"plain,dpmpp-2m", "plain,dpmpp-2m-sde"}),
        ("compare --inverter ed", {"plain,edict", "plain,edit-friendly"}),
        ("prompt-edit a.png --attach pl", {"plain,plug-and-play"}),
        ("control a.png --kind re", {"plain,relief"}),
        ("generate -m emoji-i", {"plain,emoji-instruct", "file,emoji-i"}),
        ("describe flow", {"plain,flow-edit", "file,flow"}),
        ("inpaint a.png --mask m", {"file,m"}),
        ("img2img ", {"file,"}),
        ("img2img --mask-dir ", {"dir,"}),
        ("replay a", {"file,a"}),
        ("prompt-edit a.png --keep a", {"plain,appearance"}),
        ("img2img --stren", {"plain,--strength"}),
        ("stri", {"plain,strip"}),
    ],
)
def test_a_shell_completes_names_values_and_files(words: str, expected: set[str]) -> None:
    variables = {"COMP_WORDS": f"editkit {words}", "COMP_CWORD": str(words.count(" ") + 1)}
    result = CliRunner().invoke(main, [], prog_name="editkit", env={**variables, "_EDITKIT_COMPLETE": "bash_complete"})
    assert set(result.stdout.rstrip("\n").split("\n")) == expected, result.output


@pytest.mark.parametrize(
    ("shell", "words", "place", "expected"),
    [
        ("bash", "editkit img2img --sampler = ddp", "4", "plain,ddpm"),
        ("zsh", "editkit img2img --sampler=ddp", "2", "plain\n--sampler=ddpm\n"),
        ("fish", "editkit img2img --sampler=ddp", "--sampler=ddp", "plain,--sampler=ddpm\t"),
    ],
)
def test_a_value_that_is_joined_to_its_option_is_completed(shell: str, words: str, place: str, expected: str) -> None:
    variables = {"COMP_WORDS": words, "COMP_CWORD": place, "_EDITKIT_COMPLETE": f"{shell}_complete"}
    assert CliRunner().invoke(main, [], prog_name="editkit", env=variables).stdout.startswith(expected)
    changed = {"bash": "", "zsh": "compset -P '--*='; _path_files -f", "fish": 'string split -m 1 ","'}[shell]
    assert changed in CliRunner().invoke(main, ["completion", shell]).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_asks_editkit(shell: str) -> None:
    script = CliRunner().invoke(main, ["completion", shell]).stdout
    assert script.startswith("# ") and f"_EDITKIT_COMPLETE={shell}_complete" in script


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_describes_arguments_and_has_no_line_without_a_text(name: str) -> None:
    usage, _, text = CliRunner().invoke(main, [name, "--help"]).stdout.partition("\n\n")
    options = text.partition("ptions:\n")[2].splitlines()
    assert [line for line in options if re.fullmatch(r"  \S+", line)] == []
    operations, commands = installed().specs["operations"], installed().specs["commands"]
    fields = {**operations, **commands}[name].params.model_fields if name in {**operations, **commands} else {}
    for field, info in fields.items():
        if field_metadata(info).get("argument"):
            title = field.upper() if info.is_required() else f"[{field.upper()}]"
            assert usage.split().count(title) == 1
            assert f"Arguments:\n  {title}  {(info.description or '').split()[0]} " in text


def test_help_and_completion_import_nothing_heavy() -> None:
    code = (
        "import sys, os; from editkit.cli import main\n"
        "os.environ.update(COMP_WORDS='editkit img2img --sampler d', COMP_CWORD='3')\n"
        "for shell, words in (('', ['--help']), ('bash_complete', [])):\n"
        "    os.environ['_EDITKIT_COMPLETE'] = shell\n"
        "    try: main(words, prog_name='editkit')\n"
        "    except SystemExit as end: assert end.code in (0, 1)\n"
        "assert not {'torch', 'diffusers', 'numpy', 'PIL', 'asyncio', 'huggingface_hub'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_importing_the_package_imports_nothing_else() -> None:
    """So that an interrupt reaches the handler of the command line, and no traceback is printed."""
    code = "import sys; before = set(sys.modules); import editkit; print(set(sys.modules) - before)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "{'editkit'}\n"


def test_a_terminal_shows_that_a_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with shown_loading("emoji"):
        assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with shown_loading("emoji"):
        assert "loading model emoji" in capsys.readouterr().err
    assert capsys.readouterr().err.strip() == ""


# doctor


def examine(monkeypatch: pytest.MonkeyPatch, *words: str, probe: str = "") -> tuple[dict[str, Any], int]:
    """Return the report of ``doctor`` and its exit status, with another program in place of the heavy imports."""
    monkeypatch.setattr(findings, "_PROBE", probe)
    result = CliRunner().invoke(main, ["doctor", "--json", *words])
    report: dict[str, Any] = json.loads(result.stdout)
    return report, result.exit_code


def test_doctor_reports_versions_caches_models_and_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("steps = 9")
    monkeypatch.setenv("EDITKIT_CONFIG", str(config))
    monkeypatch.setenv("HF_TOKEN", "secret")
    report, status = examine(monkeypatch)
    assert status == 0 and report["problems"] == []
    assert report["versions"]["torch"] == importlib.metadata.version("torch")
    assert report["models"]["emoji (default)"] and report["caches"]["editkit"] and "hub" not in report
    assert report["settings"][f"steps in {config}"] == "9" and "secret" not in json.dumps(report)


def test_doctor_has_a_line_for_each_thing_that_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITKIT_STPES", "9")
    monkeypatch.setenv("EDITKIT_STRENGTH", "3")
    monkeypatch.setattr(findings, "_caches", lambda: iter([1 / 0]))
    probe = (
        'import os; print(\'["torch", "2", null]\', flush=True)\n'
        'print(\'["diffusers", null, "ImportError: no numpy"]\', flush=True); os.abort()'
    )
    report, status = examine(monkeypatch, probe=probe)
    assert status == 1 and report["libraries"]["torch"]
    text = "\n".join(report["problems"])
    for words in (
        "diffusers: ImportError: no numpy",
        "ended the process",
        "ZeroDivisionError",
        "EDITKIT_STPES sets no option",
        "strength=3",
    ):
        assert words in text
    assert len(report["problems"]) == 5


def test_every_extra_has_a_purpose() -> None:
    extras = set(importlib.metadata.metadata("editkit").get_all("Provides-Extra") or ())
    assert extras - findings._FOR_DEVELOPERS <= set(findings.EXTRAS)


@pytest.mark.slow
def test_the_program_of_doctor_reports_each_library_and_device(capsys: pytest.CaptureFixture[str]) -> None:
    exec(findings._PROBE, {})
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [name for name, _, _ in found] == ["torch", "cpu", "devices", "diffusers", "transformers"]
    assert all(problem is None for *_, problem in found)


def test_a_driver_without_a_gpu_in_torch_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    probe = "print('[\"devices\", [], null]')"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(findings, "_NVIDIA_DRIVER", tmp_path / "none")
    assert examine(monkeypatch, probe=probe)[0]["problems"] == []
    monkeypatch.setattr(findings, "_NVIDIA_DRIVER", tmp_path)
    report, status = examine(monkeypatch, probe=probe)
    assert status == 1 and "a build of torch for CUDA" in report["problems"][0]
