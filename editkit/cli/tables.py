"""Registered commands, which print a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ..errors import EditkitError, PluginFailure
from ..files.paths import exists
from ..registry.params import Params, output_fields
from ..registry.registry import Registry
from ..registry.specs import CommandSpec
from ..registry.tables import Table
from .errors import Command
from .facts.examples import usage_of
from .options import parameters_of
from .outputs.plan import plan_shown
from .outputs.printing import json_option, json_text
from .outputs.writing import report_replaced


def measuring_command(registry: Registry, spec: CommandSpec) -> Command:
    """Return the click command of a registered command, with options computed from its parameters."""
    return Command(
        spec.name,
        example=usage_of(spec),
        params=[*parameters_of(spec.params, registry), json_option()],
        callback=lambda as_json, **options: _measure(registry, spec, options, as_json),
        help="\n\n".join(filter(None, [spec.summary, spec.details, spec.source and f"Source: {spec.source}"])),
    )


def _measure(registry: Registry, spec: CommandSpec, options: Mapping[str, Any], as_json: bool) -> None:
    values = {name: value for name, value in options.items() if value not in (None, ())}
    params = spec.params.parse(spec.name, values)
    registry.check_names(params)
    written = _output_files(params)
    replaced = [path for path in written if exists(path)]
    table = _run(registry, spec.name, params)
    for path in replaced:
        report_replaced(path)
    click.echo(json_text(table.as_dict()) if as_json else table.markdown())
    if table.exit_status:
        raise click.exceptions.Exit(table.exit_status)


def _run(registry: Registry, name: str, params: Params) -> Table:
    """Run a command; an exception that it does not raise on purpose is a PluginFailure that names its plugin."""
    command = registry.load("commands", name)
    try:
        table = command(params)
    except (EditkitError, click.exceptions.Exit, click.Abort, click.ClickException):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename is None:  # of standard output: a closed pipe, a full disk
            raise
        raise PluginFailure(f"{registry.title('commands', name)} failed: {registry.describe_failure(error)}") from error
    if not isinstance(table, Table):
        raise registry.wrong_result("commands", name, table, "a Table")
    return table


def _output_files(params: Params) -> list[Path]:
    """Return the files to write; raises InvalidParameter for one that cannot be written or is an input."""
    names, values = output_fields(type(params)), params.model_dump()
    others = [value for name, value in values.items() if isinstance(value, str) and name not in names]
    planned = [plan_shown(values[name], others, None, argument=name) for name in names]
    return [path for path in planned if path is not None]
