"""Laws of ``editkit new-plugin``: the package it writes conforms, and the page for authors shows that package."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import editkit
from editkit.cli import main

TEMPLATE = Path(editkit.testing.__file__).parent / "template"
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-plugin.md"


def write_plugin(folder: Path, name: str) -> Path:
    """Write a plugin into ``folder`` by the command."""
    result = CliRunner().invoke(main, ["new-plugin", name, "-o", str(folder / name)])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{folder / name}\n"
    return folder / name


def run_module(*command: str, target: Path, folder: Path) -> str:
    """Run a module with the packages of ``target`` installed."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={"PYTHONPATH": str(target), "PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_new_plugin_passes_every_check(tmp_path: Path) -> None:
    package, target = write_plugin(tmp_path, "my-filter"), tmp_path / "target"
    run_module(
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(target),
        ".",
        target=target,
        folder=package,
    )
    listed = run_module("editkit", "plugins", target=target, folder=package)
    assert "my-filter (editkit_my_filter, editkit-my-filter 0.1.0)" in listed
    checked = run_module("editkit", "check", "my-filter", target=target, folder=package)
    assert re.search(r"^\d\d passed, 0 failed, \d skipped$", checked, re.M), checked
    assert "failed" not in run_module("pytest", "-q", target=target, folder=package)


def test_a_new_plugin_keeps_nothing_of_the_example(tmp_path: Path) -> None:
    package = write_plugin(tmp_path, "my-filter")
    files = [path for path in package.rglob("*") if path.is_file()]
    assert len(files) == len([path for path in TEMPLATE.rglob("*") if path.is_file() and path.suffix != ".pyc"])
    for path in files:
        assert "example" not in path.name + path.read_text(encoding="utf-8").lower(), path


@pytest.mark.parametrize("name", ["", "My-Filter", "my_filter", "../x", "3d", "-x", "img2img", "check", "bench"])
def test_a_name_that_cannot_be_registered_is_refused(name: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["new-plugin", "-o", str(tmp_path / "x"), "--", name])
    assert result.exit_code == 2
    assert f"name {name!r} is not allowed" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["new-plugin", "my-filter", "-o", str(tmp_path)])
    assert result.exit_code == 2
    assert "exists already" in result.stderr
    assert not list(tmp_path.iterdir())


def test_the_page_for_authors_shows_the_files_of_a_new_plugin() -> None:
    """Each block of the page that is headed by a file's name is that file."""
    blocks = dict(re.findall(r"^`([\w/.]+)`:\n\n```\w+\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S))
    shown = {"pyproject.toml", "tests/test_example.py"}
    shown |= {f"editkit_example/{name}.py" for name in ("__init__", "operation", "inverter", "sampler", "annotator")}
    assert set(blocks) == shown
    for name, text in blocks.items():
        assert text == (TEMPLATE / name).read_text(encoding="utf-8"), name
