"""Values of settings, checked without an edit: each by the commands that have its option."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ...errors import EditkitError
from ...registry.params import field_metadata
from ...registry.registry import installed
from ..errors import Command
from ..options import may_be_listed
from ..settings import chosen_settings, default_map_value


def value_problems(config: Mapping[str, Any], commands: Mapping[str, click.Command]) -> list[str]:
    """Return the reason for each setting whose value a command that has the option does not allow, one a setting."""
    problems: dict[str, str] = {}
    for name, command in commands.items():
        shared = isinstance(command, Command) and command.settings == "all"
        for option, setting in chosen_settings(command, config, shared=shared):
            try:
                value = option.type_cast_value(click.Context(command), default_map_value(option, setting))
                _check_value(name, str(option.name), value)
            except (click.BadParameter, EditkitError) as error:
                reason = error.message if isinstance(error, click.BadParameter) else str(error)
                about = "" if setting.origin in reason else f"{setting.origin}: "
                problems.setdefault(setting.origin, f"{about}{reason}")
    return list(problems.values())


def _check_value(command: str, option: str, value: Any) -> None:
    """Raise an EditkitError for a value, or one of several, that the declaration of a registered command refuses."""
    registry = installed()
    for _, spec in registry.specs_of(command, ("operations", "commands")):
        field = spec.params.model_fields.get(option)
        if field is None or "image" in field_metadata(field):
            continue
        several = isinstance(value, tuple) and (option == "seed" or may_be_listed(field))
        for one in value if several else (value,):
            spec.params.check_value(command, option, one)
            registry.resolve_names(option, field, one)
