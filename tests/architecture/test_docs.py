"""The documents are current: the reference, the links, and every command and snippet of the pages."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import functools
import importlib.util
import pkgutil
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

import editkit
from editkit.cli import main
from editkit.registry.registry import installed

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
TOP = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md")]
CARD = ROOT / "plugins" / "editkit_emoji" / "MODEL_CARD.md"
WRITTEN = [*TOP, CARD, *(page for page in PAGES if page.parent.name != "reference")]
OWN_PROJECT = DOCS / "how-to" / "write-a-plugin.md"
"""Its commands and snippets are of another package; tests of new-plugin run them."""

NOTEBOOK = DOCS / "how-to" / "notebook.md"
"""Its cells are run as a notebook runs them, with their displays."""
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:^(?:\$ )?|`|&& |/)editkit\s+([a-z][a-z0-9-]*)\b([^`\n]*)", re.MULTILINE)
"""A command of editkit: its name, and the rest of the line."""
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
LINK = re.compile(r"\]\(([^)#\s]+)")


OF_SCRIPTS = {"--methods", "--minutes", "--pairs", "--scenery", "--skip"}
"""Options of scripts for training and measuring, which documents name beside those of commands."""

STEPS = 4
"""Steps of commands and snippets that leave their number open."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks_of(page: Path) -> list[tuple[str, str]]:
    """The console sessions and Python snippets of a page in their order."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def shorten(words: list[str]) -> list[str]:
    """A command with few steps, where it leaves their number open: this test is about its other words."""
    command = main.get_command(click.Context(main), words[0])
    options = {option for one in command.params for option in one.opts} if command else set()
    return [*words, "--steps", str(STEPS)] if "--steps" in options and "--steps" not in words else words


def script(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_reference_pages_and_types_are_current() -> None:
    assert script(DOCS / "generate.py").stale_files() == []


def test_check_fails_for_changed_missing_and_left_over_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = script(DOCS / "generate.py")
    monkeypatch.setattr(module, "REFERENCE", tmp_path)
    monkeypatch.setattr(module, "STUB", tmp_path / "ops.pyi")
    assert module.main([]) == 0
    assert module.main(["--check"]) == 0
    (tmp_path / "cli.md").write_text("# Another\n", encoding="utf-8")
    (tmp_path / "report.md").rename(tmp_path / "reports.md")
    (tmp_path / "ops.pyi").unlink()
    assert module.main(["--check"]) == 1
    named = [line.split()[0] for line in capsys.readouterr().err.splitlines()]
    pages = [f"docs/reference/{name}.md" for name in ("cli", "report", "reports")]
    assert named == [pages[0], "editkit/ops.pyi", *pages[1:]]


@pytest.mark.parametrize("page", [*TOP, *PAGES], ids=name_of)
def test_links_of_documents_lead_to_files(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_citation_names_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == editkit.__version__


def test_architecture_names_files_and_functions_that_exist() -> None:
    text = re.sub(r"```.*?```", "", (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    words = {word for word in re.findall(r"`([^`]+)`", text) if not re.search(r"NAME|FAMILY|[* ]", word)}
    folders = [ROOT / name for name in ("editkit", "plugins", "tests")]
    files = [path for folder in folders for path in folder.rglob("*")]
    paths = {word for word in words if "/" in word or word.endswith((".py", ".pyi", ".toml"))}
    present = {path.as_posix() for path in [*folders, *files, ROOT / "pyproject.toml"]}
    assert {word for word in paths if not any(path.endswith(f"/{word.rstrip('/')}") for path in present)} == set()
    source = "\n".join(path.read_text(encoding="utf-8") for path in files if path.suffix == ".py")
    defined = {"editkit", *re.findall(r"^ *(?:def|class) (\w+)", source, re.MULTILINE)}
    assert {word for word in words - paths if word.rpartition(".")[2] not in defined} == set()


@functools.cache
def options_of_commands() -> dict[str, set[str]]:
    context, options = click.Context(main), {}
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        options[name] = {"--help", *(word for one in command.params for word in (*one.opts, *one.secondary_opts))}
    return options


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_commands_and_options_in_documents_exist(page: Path) -> None:
    """Also those that no test runs: commands with other models, in tables and in sentences."""
    text, options = page.read_text(encoding="utf-8").replace("\\\n", " "), options_of_commands()
    text = text.replace("`editkit image 1`", "")  # begins the bytes that a digest is taken over
    blocks = "".join(re.findall(r"^```(?!py).*?^```$", text, re.DOTALL | re.MULTILINE))
    spans = re.findall(r"`[^`]+`", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE))
    for name, words in COMMAND.findall("\n".join([blocks, *spans])):
        assert name in options, words
        assert set(OPTION.findall(words)) - options[name] == set(), name
    if page not in (CARD, OWN_PROJECT):  # these have options of training scripts, and of the reader's package
        alone = {option for span in spans for option in OPTION.findall(span) if span.startswith("`--")}
        assert alone - set().union(*options.values()) - OF_SCRIPTS == set()


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_python_names_in_documents_exist(page: Path) -> None:
    names = set(re.findall(r"\beditkit\.([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)", page.read_text(encoding="utf-8")))
    assert {name for name in names if not (exists(name) or name in ("ops.NAME", "NAME"))} == set()


def exists(name: str) -> bool:
    with contextlib.suppress(ImportError, AttributeError):
        pkgutil.resolve_name(f"editkit.{name}")
        return True
    return False


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_documents_are_in_plain_technical_english(page: Path) -> None:
    text = re.sub(r"save_picture|tests/pictures|`pictures`", "", page.read_text(encoding="utf-8")).lower()
    if page.name != "glossary.md":
        assert "picture" not in text
    assert len(re.findall(r"\bwhat\b", text)) <= max(1, 2 * len(text.split()) / 1000)


RUN = [page for page in WRITTEN if page not in (OWN_PROJECT, NOTEBOOK) and blocks_of(page)]
"""Pages whose commands and snippets are run."""


@pytest.mark.model
@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_commands_and_snippets_of_documents_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("docs", "plugins", "samples", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    models = installed().specs["models"]
    few = dc.replace(models["emoji"], defaults={**models["emoji"].defaults, "steps": STEPS})
    monkeypatch.setitem(models, "emoji", few)
    names: dict[str, Any] = {}
    for language, text in blocks_of(page):
        if language == "python":
            exec(compile(text, name_of(page), "exec"), names)
            continue
        for command in re.findall(r"^\$ editkit (.*)$", text, re.MULTILINE):
            words = shorten(shlex.split(command))
            result = CliRunner().invoke(main, words)
            assert result.exit_code == 0, (command, result.output)
            if "--sheet" in words:
                sheet = Path(words[words.index("--sheet") + 1])
                assert Image.open(sheet).size == Image.open(ROOT / "samples" / sheet.name).size


@pytest.mark.model
@pytest.mark.slow
def test_cells_of_the_notebook_page_run_and_show_its_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    shown = {name: image.width for name, image in script(ROOT / "samples" / "make_notebook.py").displays()}
    assert shown == {file.name: Image.open(file).width for file in (ROOT / "samples").glob("notebook-*.png")}
