"""Docstrings, help texts and the README are plain technical English."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from architecture.syntax import nodes
from editkit.cli import main
from editkit.registry import installed

ROOT = Path(__file__).parents[2]
FOLDERS = ("editkit", "plugins", "tests")
LITERAL = re.compile(r"``.*?``|`[^`\n]*`|:\w+:`[^`]*`|https?://\S+|\bsave_picture\b|\btests/pictures\b", re.DOTALL)
"""Code and addresses, whose words are names and not prose."""
PERSONIFIED = re.compile(r"\bnetworks?\b(?:\W+\w+){0,4}?\W+(?:told|said|asked|tells|says|asks)\b", re.IGNORECASE)


class Text(NamedTuple):
    """A passage of prose and the place where it stands."""

    place: str
    prose: str


def docstrings_in(file: Path) -> Iterator[Text]:
    """Docstrings of a module, of its classes and functions, and strings that follow an assignment."""
    place = str(file.relative_to(ROOT))
    for node in nodes(file):
        for statement in getattr(node, "body", []) if not isinstance(node, ast.Lambda | ast.IfExp) else []:
            match statement:
                case ast.Expr(value=ast.Constant(value=str(prose))):
                    yield Text(f"{place}:{statement.lineno}", prose)


@functools.cache
def docstrings() -> list[Text]:
    files = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py*"))
    return [text for file in files if file.suffix in {".py", ".pyi"} for text in docstrings_in(file)]


def command_texts(command: click.Command, name: str) -> Iterator[Text]:
    """Help of a command, of its options and of its subcommands."""
    yield Text(name, command.help or "")
    for option in command.params:
        yield Text(f"{name} {option.name}", getattr(option, "help", None) or "")
    if isinstance(command, click.Group):
        context = click.Context(command)
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from command_texts(found, f"{name} {child}")


@functools.cache
def help_texts() -> list[Text]:
    """Help of all commands, and summaries and parameters of all registered specs."""
    texts = list(command_texts(main, "editkit"))
    for kind, specs in installed().specs.items():
        for spec in specs.values():
            texts.append(Text(f"{kind} {spec.name}", spec.summary))
            fields = spec.params.model_fields.items()
            texts.extend(Text(f"{kind} {spec.name}:{name}", field.description or "") for name, field in fields)
    return texts


@functools.cache
def messages() -> list[Text]:
    """Strings in the ``raise`` statements of the core and of the plugins."""
    texts = []
    for file in sorted(file for folder in ("editkit", "plugins") for file in (ROOT / folder).rglob("*.py")):
        for node in nodes(file):
            if isinstance(node, ast.Raise):
                strings = (part.value for part in ast.walk(node) if isinstance(part, ast.Constant))
                prose = " ".join(string for string in strings if isinstance(string, str))
                texts.append(Text(f"{file.relative_to(ROOT)}:{node.lineno}", prose))
    return texts


@functools.cache
def readme() -> list[Text]:
    prose = re.sub(r"^```.*?^```", "", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [Text("README.md", prose)]


SOURCES = {"docstrings": docstrings, "help": help_texts, "messages": messages, "readme": readme}


@functools.cache
def count(source: str, pattern: str) -> tuple[float, list[str]]:
    """Matches of a pattern per 1,000 words of prose, and the places where they stand."""
    words, places = 0, []
    for text in SOURCES[source]():
        prose = LITERAL.sub(" ", text.prose)
        words += len(re.findall(r"[A-Za-z][\w'-]*", prose))
        places += [text.place] * len(re.findall(pattern, prose, re.IGNORECASE))
    return 1000 * len(places) / words, places


@pytest.mark.parametrize("source", SOURCES)
def test_what_stands_at_most_twice_in_1000_words(source: str) -> None:
    rate, places = count(source, r"\bwhat\b")
    assert rate <= 2, (round(rate, 1), places)


@pytest.mark.parametrize("source", SOURCES)
def test_prose_says_image(source: str) -> None:
    assert count(source, r"\bpictures?\b")[1] == []


@pytest.mark.parametrize("source", SOURCES)
def test_networks_do_not_speak(source: str) -> None:
    texts = SOURCES[source]()
    assert [(text.place, found[0]) for text in texts if (found := PERSONIFIED.search(text.prose))] == []


def test_no_docstring_begins_with_what_or_where() -> None:
    assert [text.place for text in docstrings() if re.match(r"(What|Where)\b", text.prose.strip())] == []
