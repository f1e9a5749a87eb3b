"""The command that prints the completion of a shell; the values that options complete are in their types."""

from __future__ import annotations

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    get_completion_class,
)

from ..errors import Command

_PROGRAM, _VARIABLE = "editkit", "_EDITKIT_COMPLETE"
"""Name of the program, and click's variable for it."""

_SETUP = {
    "bash": 'in ~/.bashrc: eval "$(editkit completion bash)"',
    "zsh": 'in ~/.zshrc, after compinit: eval "$(editkit completion zsh)"',
    "fish": "once: editkit completion fish > ~/.config/fish/completions/editkit.fish",
}
"""Place of the script of each shell."""


class _Bash(BashComplete):
    """Completion of bash, also of ``--option=value``: for bash the sign and the value are words of their own."""

    def get_completion_args(self) -> tuple[list[str], str]:
        args, incomplete = super().get_completion_args()
        if len(args) > 1 and args[-1] == "=" and args[-2].startswith("--"):
            return args[:-1], incomplete
        return args, incomplete


class _WholeWord(ShellComplete):
    """Completion whose values replace the word at hand: for ``--option=value`` they begin with the option."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        found = super().get_completions(args, incomplete)
        option, sign, _ = incomplete.partition("=")
        if not sign or not option.startswith("--"):
            return found
        return [CompletionItem(f"{option}={one.value}", one.type, one.help) for one in found]


class _Zsh(_WholeWord, ZshComplete):
    """Completion of zsh, also of paths in ``--option=path``."""

    source_template = ZshComplete.source_template.replace("_path_files", "compset -P '--*='; _path_files")


class _Fish(_WholeWord, FishComplete):
    """Completion of fish, with whole descriptions, which may have commas."""

    source_template = FishComplete.source_template.replace('string split ","', 'string split -m 1 ","')


for _kind in (_Bash, _Zsh, _Fish):
    add_completion_class(_kind)


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
