"""The command ``doctor``: print all findings about the installation, and whether there is a problem."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from ...errors import EditkitError
from ...libraries import reason_of
from ..errors import Command
from ..outputs.printing import json_option, json_text
from .findings import HUB, Check, Finding, checks_of


def doctor_command() -> Command:
    """Return the ``doctor`` command."""
    online = f"Also ask whether {HUB} can be reached; nothing is sent."
    return Command(
        "doctor",
        params=[click.Option(["--online"], is_flag=True, help=online), json_option()],
        callback=_examine,
        settings="none",
        example="editkit doctor",
        help="Report versions, devices, memory, caches, plugins, optional extras and settings, and what does not work "
        "and why. Exit status 1 if something that is installed is broken. The config file has lines such as steps = 20 "
        "for all commands, and after a line [img2img] for one; EDITKIT_STEPS and EDITKIT_IMG2IMG_STEPS go before it.",
    )


def _examine(online: bool, as_json: bool) -> None:
    """Print all findings; exit with 1 if there is a problem."""
    sections = {title: list(_isolated(check)) for title, check in checks_of(online=online).items()}
    problems = [
        f"{title}: {one.name}: {one.problem}" for title, found in sections.items() for one in found if one.problem
    ]
    if as_json:
        values = {title: {one.name: one.value for one in found} for title, found in sections.items()}
        click.echo(json_text({**values, "problems": problems}))
    else:
        for title, found in sections.items():
            click.echo(title)
            for one in found:
                click.echo(f"    {one.name}: {_shown(one.value)}{f'  PROBLEM: {one.problem}' if one.problem else ''}")
        click.echo(f"{len(problems)} problem(s)" if problems else "no problems")
    if problems:
        raise click.exceptions.Exit(1)


def _isolated(check: Check) -> Iterator[Finding]:
    """Yield the findings of a check, whatever it raises."""
    try:
        yield from check()
    except EditkitError as error:
        yield Finding("error", None, str(error))
    except Exception as error:  # a broken library may raise anything, and the other checks go on
        yield Finding("error", None, reason_of(error))


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return ", ".join(map(str, value)) or "-" if isinstance(value, list) else str(value)
