"""The commands of the README work as printed, on the bundled model; test_docs.py runs those of the other documents."""

from __future__ import annotations

import importlib.util
import shlex
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner
from PIL import Image

from editkit.cli import main

ROOT = Path(__file__).parents[2]


def make_sheets() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_sheets", ROOT / "samples" / "make_sheets.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SHEETS = make_sheets()
COMMANDS = SHEETS.commands((ROOT / "README.md").read_text(encoding="utf-8"))


def test_every_kind_of_edit_is_shown() -> None:
    shown = {shlex.split(command)[0] for command in SHEETS.all_commands()}
    assert {"img2img", "inpaint", "outpaint", "instruct", "upscale", "control", "prompt-edit", "flow-edit"} <= shown


@pytest.mark.model
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: Path(command).stem)
def test_readme_commands_write_their_images(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    words = [word.replace("out/", f"{tmp_path}/", 1) for word in shlex.split(command)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    sheet = Image.open(words[-1])
    assert sheet.size == Image.open(ROOT / "samples" / Path(words[-1]).name).size
