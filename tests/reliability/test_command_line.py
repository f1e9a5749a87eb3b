"""Generated bad calls on the command line: every option of every operation, unknown words, files of other kinds."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from PIL import Image
from reliability_oracle import Schema, is_allowed, schema_of
from reliability_outcomes import Outcomes

from editkit.cli import main
from editkit.registry.registry import installed
from editkit.testing.suite import sample_image

pytestmark = [pytest.mark.reliability, pytest.mark.slow]

SPECS = installed().specs["operations"]
SIZE = (16, 12)
LARGEST = 40
"""Largest valid number that is tried: the cost of a call grows with steps, sizes and frames."""
TEXTS = (
    *("", " ", "0", "1", "2", "-1", "0.5", "1.5", "1e3", "1e400", "nan", "inf", "-inf", "0x10", "1_0", "٣", "½", "1,5"),
    *("true", "yes", "None", "null", "[]", "{}", "a", "A b", "'", '"', "\\", "../x", "/dev/null", "/", "-", "--"),
    *("--help", "\udcff", "x" * 300, "x" * 5000, "a\nb", "🍎", "ddim", "ddim:eta=9", "ddim:", ":", "moon:a=b"),
    *("%s", "${HOME}", "~", "*"),
)
WORDS = ("text.txt", "empty", "list.json", "missing", ".", "\udcff", "x" * 300, "--moon", "--steps=moon", "/dev/null")
INPUTS = {"image": ["a.png"], "two images": ["a.png", "a.png"], "nothing": []}
OWN = ("new-plugin", "check", "bench", "plugins", "models")
"""Commands without an input file, or that write packages."""


def option_oracle(schema: Schema | None, text: str) -> bool | None:
    """Whether an option allows a text; None where its declaration does not say."""
    if schema is None:
        return None
    kinds = {option.get("type") for option in schema.get("anyOf", [schema])}
    if not kinds & {"number", "integer"}:
        return is_allowed(schema, text) if kinds <= {"string", "null"} else None
    if "," in text:
        return None  # some options take a list
    try:
        number = float(text)
    except ValueError:
        return False
    if not math.isfinite(number):
        return False
    return is_allowed(schema, int(number) if number.is_integer() else number)


def run_command(arguments: Iterable[str]) -> Any:
    return CliRunner().invoke(main, list(arguments), input=b"")


def judge_command(tally: Outcomes, label: str, outcome: Any, valid: bool | None) -> None:
    """Count how a command ended, by its exit status and standard error."""
    errors = [line for line in outcome.stderr.splitlines() if line.startswith("Error: ")]
    if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
        tally.count("untyped", f"{label}: {outcome.exception!r}"[:300])
    elif outcome.exit_code == 0:
        wrong = valid is False or not wrote_files(outcome)
        tally.count("silent wrong" if wrong else "right", f"{label}: exit status 0")
    elif len(errors) != 1 or "please report it" in outcome.stderr or outcome.exit_code not in (1, 2):
        tally.count("untyped", f"{label}: status {outcome.exit_code}: {outcome.stderr[-300:]!r}")
    else:
        tally.count("refused")


def wrote_files(outcome: Any) -> bool:
    """Whether every file that a command printed is there, or its bytes were printed."""
    if outcome.stdout_bytes.startswith(b"\x89PNG"):
        return True
    files = [Path(line) for line in outcome.stdout.splitlines()]
    return bool(files) and all(file.is_file() and file.stat().st_size for file in files)


def command_of(name: str) -> click.Command:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    return command


def fixed_arguments(operation: str, model: str, option: str) -> list[str]:
    """Arguments of a call that is right and cheap, without ``option``."""
    spec = SPECS[operation]
    fields = spec.params.model_fields
    values = {
        "--model": model,
        "--output": "out.safetensors" if spec.gives == "inversion" else "out.png",
        "--steps": "2",
    }
    values |= {"--source": "a red apple", "--target": "a green apple"}
    values |= {"--sampler": "lcm"} if operation == "few-step-edit" else {}
    values |= {"--mask": "mask.png"} if "mask" in fields and fields["mask"].is_required() else {}
    values |= {f"--{name}": str(value) for name, value in spec.example.items() if name != "instruction"}
    names = {name for parameter in command_of(operation).params for name in parameter.opts}
    words = [*INPUTS[spec.takes], *(["make it green"] if operation == "instruct" else [])]
    return [operation, *words, *(f"{name}={value}" for name, value in values.items() if name in names - {option})]


@pytest.mark.parametrize("operation", sorted(name for name in SPECS if SPECS[name].takes in INPUTS))
def test_options_are_right_or_refused_in_one_line(
    operation: str, probe: Any, long: bool, toy_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work" / "here")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    sample_image(SIZE).save("a.png")
    Image.new("L", SIZE, 255).save("mask.png")
    schemas, choice, command = schema_of(SPECS[operation]), random.Random(operation), command_of(operation)
    monkeypatch.setitem(main.commands, operation, command)  # else each of the hundreds of calls builds it again
    with probe(f"command line: {operation}") as tally:
        for option in command.params:
            if not isinstance(option, click.Option) or option.is_flag:
                continue
            name = option.opts[-1]
            fixed = fixed_arguments(operation, toy_model, name)
            for text in TEXTS if long else choice.sample(TEXTS, 6):  # others with each operation
                valid = option_oracle(schemas.get(option.name or ""), text)
                if valid is not False and text == "1e3":
                    continue  # a thousand steps, or frames
                outcome = run_command([*fixed, f"{name}={text}"])
                judge_command(tally, f"{operation} {name}={text[:40]!r}", outcome, valid)


def test_commands_name_unknown_words_and_files(probe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "text.txt").write_text("no image")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "list.json").write_text(json.dumps([1]))
    with probe("command line: words and files") as tally:
        for command in main.list_commands(click.Context(main)):
            for word in () if command in OWN else WORDS:
                if (command, word) == ("web", "."):
                    continue  # a folder, whose page is served without end
                judge_command(tally, f"{command} {word[:40]!r}", run_command([command, word]), False)
        for word in ("moon", "img2img2", "-x", "--moon"):
            judge_command(tally, f"command {word!r}", run_command([word]), False)
