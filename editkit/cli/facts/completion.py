"""The command that prints the completion of a shell; the values that options complete are in their types."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from ..errors import Command

_PROGRAM, _VARIABLE = "editkit", "_EDITKIT_COMPLETE"
"""Name of the program, and click's variable for it."""

_SETUP = {
    "bash": 'in ~/.bashrc: eval "$(editkit completion bash)"',
    "zsh": 'in ~/.zshrc, after compinit: eval "$(editkit completion zsh)"',
    "fish": "once: editkit completion fish > ~/.config/fish/completions/editkit.fish",
}
"""Place of the script of each shell."""


def completion_command() -> Command:
    """Return the ``completion`` command."""
    places = "\n".join(f"{shell}: {text}" for shell, text in _SETUP.items())
    return Command(
        "completion",
        params=[click.Argument(["shell"], type=click.Choice(list(_SETUP)))],
        callback=_print_script,
        example="editkit completion bash",
        settings="none",
        help="Print the script that lets a shell complete commands, options, registered names and files.\n\n"
        f"\b\n{places}",
    )


def _print_script(shell: str) -> None:
    kind = get_completion_class(shell)
    assert kind is not None, "click has the shells of the argument"
    group = click.get_current_context().find_root().command
    complete = kind(group, {}, _PROGRAM, _VARIABLE)
    # Its own source() runs bash to find its version.
    click.echo(f"# {_SETUP[shell]}\n{kind.source_template % complete.source_vars()}")
