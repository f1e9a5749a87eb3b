"""The command that writes the package of a new plugin."""

from __future__ import annotations

import importlib.resources
import os
import shutil
import tempfile
from importlib.resources.abc import Traversable
from pathlib import Path

import click

from ..errors import InvalidParameter
from ..files.writing import check_output
from ..registry.registry import COMMANDS, NAME, installed
from .errors import Command
from .options import CompletedText

_EXAMPLE = "example"
"""Name of the template's plugin, which the new name replaces in files and file names."""


def new_plugin_command() -> Command:
    """Return the ``new-plugin`` command."""
    return Command(
        "new-plugin",
        example="editkit new-plugin my-filter",
        params=[
            click.Argument(["name"]),
            click.Option(
                ["-o", "--output"],
                metavar="FOLDER",
                type=CompletedText("dir"),
                help="Folder to write.  [default: editkit-NAME here]",
            ),
        ],
        callback=_write_plugin,
        help="Write the package of a plugin with an operation, an inverter, a sampler and an annotator, and its tests.",
    )


def _write_plugin(name: str, output: str | None) -> None:
    """Write the package and print its folder; raises InvalidParameter for a bad name or a folder that exists."""
    if not NAME.fullmatch(name) or not name[0].isalpha():
        raise InvalidParameter(f"name {name!r} is not allowed: give lower-case words joined by hyphens, as my-filter")
    if name in {*COMMANDS, *installed().specs["operations"], *installed().specs["commands"]}:
        raise InvalidParameter(f"name {name!r} is not allowed: editkit has a command of that name; give another one")
    folder = Path(output or f"editkit-{name}")
    if os.path.lexists(folder):
        raise InvalidParameter(f"output {str(folder)!r} exists already: give the name of a new folder with -o")
    check_output(folder)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".editkit-") as scratch:
        package = Path(scratch) / "package"
        _write_package(importlib.resources.files("editkit.testing") / "template", package, name)
        shutil.move(package, folder)
    click.echo(os.fsencode(folder))
    click.echo(f"Install and check it: cd {folder} && pip install -e '.[test]' && editkit check {name}", err=True)


def _write_package(template: Traversable, folder: Path, name: str) -> None:
    """Copy the template into ``folder`` with ``name`` in place of the template's own."""
    folder.mkdir()
    for entry in template.iterdir():
        target = folder / _rename(entry.name, name.replace("-", "_"))
        if entry.is_dir() and entry.name != "__pycache__":
            _write_package(entry, target, name)
        elif entry.is_file():
            target.write_text(_rename(entry.read_text("utf-8"), name), "utf-8")


def _rename(text: str, name: str) -> str:
    """Replace the example's name by ``name``, as identifiers need it where it is part of one."""
    module, title = name.replace("-", "_"), "".join(part.title() for part in name.split("-"))
    text = text.replace(f"_{_EXAMPLE}", f"_{module}").replace(_EXAMPLE.title(), title)
    return text.replace(_EXAMPLE, name)
