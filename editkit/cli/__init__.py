"""The command line: ``main`` is the group of all commands, built from the registry."""

from __future__ import annotations

import atexit
import gc
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import click

from ..errors import UnknownName, did_you_mean
from ..registry.registry import installed
from ..version import __version__
from .errors import report_error
from .facts.listing import check_command, models_command, plugins_command
from .facts.names import describe_command, name_commands
from .new_plugin import new_plugin_command
from .operations import operation_command
from .pipelines import run_command
from .recipes import replay_command, show_command, strip_command
from .tables import measuring_command

HELP = """Edit images with diffusion models: invert an image, change the prompt or the mask, sample it again.

'editkit COMMAND --help' lists the options of a command."""


_NAMES_INDENT = 16
"""Columns before the names in the overview."""


class Commands(click.Group):
    """The commands of editkit itself, and one for every registered operation and command.

    A command is built when it is called: ``--help`` stays fast, and a broken plugin affects only its own commands.
    """

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command line, print an error as one line, and exit: 0 for success, 2 for bad input, 1 for a failure."""
        _reduce_gc()
        try:
            status = super().main(*args, **{**kwargs, "standalone_mode": False})
        except (click.Abort, Exception) as error:
            status = report_error(error)
        sys.exit(status or 0)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["--help"])

    def list_commands(self, ctx: click.Context) -> list[str]:
        specs = installed().specs
        return sorted({*specs["operations"], *specs["commands"], *self.commands})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        registry = installed()
        if cmd_name in self.commands:
            return self.commands[cmd_name]
        if cmd_name in registry.specs["commands"]:
            return measuring_command(registry, registry.specs["commands"][cmd_name])
        if cmd_name in registry.specs["operations"]:
            return operation_command(registry, registry.specs["operations"][cmd_name])
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        names = self.list_commands(ctx)
        if args[0] not in names and not args[0].startswith("-"):
            failures = "".join(f"; {failure}" for failure in installed().failures)
            raise UnknownName(f"no command {args[0]!r}; {did_you_mean(args[0], names)}{failures}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        registry = installed()
        operations = [(name, spec.summary) for name, spec in sorted(registry.specs["operations"].items())]
        own = [(name, command.get_short_help_str(200)) for name, command in self.commands.items()]
        own += [(name, spec.summary) for name, spec in registry.specs["commands"].items() if name not in self.commands]
        names = [(kind, _wrap_names(registry.specs[kind], formatter)) for kind in ("inverters", "samplers", "models")]
        _write_section(formatter, "Operations", [row for row in operations if row[0] not in self.commands])
        _write_section(formatter, "Other commands", sorted(own))
        _write_section(formatter, "Names for options", [row for row in names if row[1]])
        if registry.failures:
            formatter.write_paragraph()
            formatter.write_text(f"{len(registry.failures)} plugin problem(s): see 'editkit plugins'.")


def _reduce_gc() -> None:
    """Run the cyclic garbage collector rarely, and not at all at exit.

    torch and diffusers create half a million objects, which every collection scans for a second, and edits leave no
    reference cycles that are worth it.
    """
    gc.set_threshold(1_000_000, 50, 50)
    atexit.register(gc.freeze)


def _wrap_names(names: Iterable[str], formatter: click.HelpFormatter) -> str:
    """Return names in lines that break between names only, not at hyphens."""
    lines = textwrap.wrap(", ".join(sorted(names)), formatter.width - _NAMES_INDENT, break_on_hyphens=False)
    return "\b\n" + "\n".join(lines) if lines else ""


def _write_section(formatter: click.HelpFormatter, title: str, rows: Sequence[tuple[str, str]]) -> None:
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows)


main = Commands(
    "editkit",
    help=HELP,
    commands=[
        replay_command(),
        show_command(),
        strip_command(),
        run_command(),
        plugins_command(),
        models_command(),
        describe_command(),
        *name_commands(),
        check_command(),
        new_plugin_command(),
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


click.version_option(__version__, message="editkit %(version)s")(main)
