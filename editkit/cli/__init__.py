"""The command line: ``main`` is the group of all commands, built from the registry."""

from __future__ import annotations

import atexit
import gc
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from ..errors import EditkitError, UnknownName, did_you_mean
from ..registry.registry import installed
from ..version import __version__
from .errors import report_error
from .facts.citations import cite_command
from .facts.completion import completion_command
from .facts.doctor import doctor_command
from .facts.listing import check_command, models_command, plugins_command
from .facts.names import describe_command, name_commands
from .facts.recipes import show_command
from .new_plugin import new_plugin_command
from .operations import operation_command
from .outputs.printing import ClosedOutput
from .pipelines import run_command
from .replay import replay_command
from .strip import strip_command
from .tables import measuring_command

HELP = """Edit images with diffusion models: invert an image, change the prompt or the mask, sample it again.

Begin with 'editkit prompt-edit --help', or with 'editkit web' for a page in the browser.

'editkit COMMAND --help' lists the options of a command, with an example. 'editkit describe NAME' describes a model, an
operation, or whatever else has a name. Options can have defaults of your own, by variables such as EDITKIT_STEPS=20 or
by a config file: 'editkit doctor' shows both, and the device, the memory and the extras in use."""


_NAMES_INDENT = 16
"""Columns before the names in the overview."""


class Commands(click.Group):
    """The commands of editkit itself, and one for every registered operation and command.

    A command is built when it is called: ``--help`` stays fast, and a broken plugin affects only its own commands.
    """

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command line, print an error as one line, and exit: 0 for success, 2 for bad input, 1 for a failure."""
        _reduce_gc()
        if sys.stdout is None:
            sys.stdout = ClosedOutput()
        try:
            _check_current_folder()
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
        if not ctx.resilient_parsing and args[0] not in names and not args[0].startswith("-"):
            failures = "".join(f"; {failure}" for failure in installed().failures)
            raise UnknownName(f"no command {args[0]!r}; {did_you_mean(args[0], names)}{failures}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands that begin with a text, without building them as click does."""
        rows = sorted(row for section in self._sections().values() for row in section)
        commands = [CompletionItem(name, help=text) for name, text in rows if name.startswith(incomplete)]
        return commands or click.Command.shell_complete(self, ctx, incomplete)

    def _sections(self) -> dict[str, list[tuple[str, str]]]:
        """Return the names and summaries of all commands by the heading of their section, empty ones included."""
        registry = installed()
        sections: dict[str, list[tuple[str, str]]] = {"Edit an image": [], "Generate and invert": [], "Many images": []}
        sections |= {title: [] for title in OWN}
        for name, spec in sorted(registry.specs["operations"].items()):
            edits = spec.takes == "image" and spec.gives == "image"
            sections["Edit an image" if edits else "Generate and invert"].append((name, spec.summary))
        for name, spec in sorted(registry.specs["commands"].items()):
            sections.setdefault(spec.section, []).append((name, spec.summary))
        for title, commands in OWN.items():
            sections[title] += [(str(one.name), one.get_short_help_str(200)) for one in commands]
        return sections

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        registry = installed()
        for title, rows in self._sections().items():
            _write_section(formatter, title, rows)
        names = [(kind, _wrap_names(registry.specs[kind], formatter)) for kind in ("inverters", "samplers", "models")]
        _write_section(formatter, "Names for options", [row for row in names if row[1]])
        if registry.failures:
            formatter.write_paragraph()
            formatter.write_text(f"{len(registry.failures)} plugin problem(s): see 'editkit plugins'.")


def _check_current_folder() -> None:
    """Raise EditkitError in a folder that was deleted, where torch's libraries end the process."""
    try:
        Path.cwd()
    except OSError:
        raise EditkitError("the current folder cannot be read; was it deleted? Change to another one") from None


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


OWN = {
    "Many images": [run_command()],
    "Results and their recipes": [replay_command(), show_command(), cite_command(), strip_command()],
    "Models, and names for options": [describe_command(), models_command(), *name_commands()],
    "Measure": [check_command()],
    "Installation": [doctor_command(), completion_command(), plugins_command(), new_plugin_command()],
}
"""Commands of editkit itself by the heading of their section."""

main = Commands(
    "editkit",
    help=HELP,
    commands=[command for section in OWN.values() for command in section],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


click.version_option(__version__, message="editkit %(version)s")(main)
