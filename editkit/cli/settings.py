"""Values of options by environment variables and by a config file, for click's ``default_map``."""

from __future__ import annotations

import dataclasses as dc
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from ..errors import InvalidParameter, did_you_mean
from ..files import CACHE_VARIABLE, is_own
from .options import ListParam, LiteralChoices, SeedsParam

PREFIX = "EDITKIT_"
CONFIG_VARIABLE = "EDITKIT_CONFIG"
"""Environment variable that names the config file; empty for none."""
RESERVED = frozenset({CACHE_VARIABLE, CONFIG_VARIABLE})
"""Variables that are no options."""

_SETTINGS = "editkit.settings"


@dc.dataclass(frozen=True)
class Setting:
    """Value of an option that is not on the command line."""

    option: str
    """Long name of the option, without hyphens before it."""
    value: Any
    origin: str
    """Variable, or file and key, for messages."""


def config_path() -> Path | None:
    """Return the config file of the user, which may be missing; None if there is no place for one."""
    named = os.environ.get(CONFIG_VARIABLE)
    if named is not None:
        return Path(named).expanduser() if named else None
    from platformdirs import user_config_path

    try:
        return user_config_path("editkit", appauthor=False) / "config.toml"
    except RuntimeError:  # no home
        return None


def read_config() -> Mapping[str, Any]:
    """Return the content of the config file; raises InvalidParameter for one that cannot be used.

    A file that ``EDITKIT_CONFIG`` names must exist. A file in the current folder is never read by itself.
    """
    path = config_path()
    if path is None:
        return {}
    try:
        text, own = path.read_bytes(), is_own(path.stat())
    except FileNotFoundError:
        if CONFIG_VARIABLE in os.environ:
            raise InvalidParameter(f"config {str(path)!r} does not exist: change {CONFIG_VARIABLE}") from None
        return {}
    except OSError as error:
        raise InvalidParameter(f"config {str(path)!r} cannot be read: {error.strerror}") from None
    if not own:
        raise InvalidParameter(f"config {str(path)!r} belongs to another user: copy it, or set {CONFIG_VARIABLE}")
    import tomllib

    try:
        return tomllib.loads(text.decode("utf-8-sig"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidParameter(f"config {str(path)!r} is no TOML: {error}") from None


def settings_of(command: click.Command, config: Mapping[str, Any], *, shared: bool) -> dict[str, Setting]:
    """Return the settings of a command by the names of its parameters; a variable replaces a key of the config file.

    The top level of the file, and variables without a command in their name, are for all commands that have the option,
    if ``shared``. Raises InvalidParameter for a value of another kind than the option's.
    """
    options, name = options_of(command), str(command.name)
    of_all = ([*_keys(config)], [*_variables(PREFIX)]) if shared else ([], [])
    found = [*of_all[0], *_keys(config, name), *of_all[1], *_variables(_prefix_of(name))]
    chosen = {str(options[one.option].name): (options[one.option], one) for one in found if one.option in options}
    return {key: dc.replace(one, value=_converted(option, one)) for key, (option, one) in chosen.items()}


def options_of(command: click.Command) -> dict[str, click.Option]:
    """Return the options of a command by their long names, without the hyphens before them."""
    options = [param for param in command.params if isinstance(param, click.Option)]
    return {name[2:]: option for option in options for name in option.opts if name.startswith("--")}


Options = Mapping[str, Collection[str]]
"""Names of the options of commands by the names of commands."""


def check_settings(command: click.Command, config: Mapping[str, Any], every: Callable[[], Options]) -> list[str]:
    """Return a warning for each variable that sets no option of any command.

    Raises InvalidParameter for a key of the config file that is no option, or a table that is no command. ``every``
    returns the options of all commands; it is called if this command does not have all that is set.
    """
    known: Options = {str(command.name): set(options_of(command))}
    if not [*config_problems(config, known), *variable_problems(known)]:
        return []
    commands = every()
    for problem in config_problems(config, commands):
        raise InvalidParameter(problem)
    return [*variable_problems(commands)]


def config_problems(config: Mapping[str, Any], commands: Options) -> Iterator[str]:
    """Yield a message for each key of the config file that is no option, and each table that is no command."""
    names = {option for options in commands.values() for option in options}
    for one in _keys(config):
        if one.option in commands and one.option not in names:
            yield f"config: {one.origin} is a command: write a table of its options"
        elif one.option not in names:
            yield f"config: {one.origin} is no option; {did_you_mean(one.option, names)}"
    for table in (key for key, value in config.items() if isinstance(value, Mapping)):
        if table not in commands:
            yield f"config: [{table}] in {config_path()} is no command; {did_you_mean(table, commands)}"
            continue
        for one in _keys(config, table):
            if one.option not in commands[table]:
                yield f"config: {one.origin} is no option of {table}; {did_you_mean(one.option, commands[table])}"


def variable_problems(commands: Options) -> Iterator[str]:
    """Yield a message for each variable that sets no option of the commands."""
    names = {option for options in commands.values() for option in options}
    for one in _variables(PREFIX):
        if not any(_is_of(one, *pair) for pair in commands.items()):
            yield f"{one.origin} sets no option; {did_you_mean(one.option, names)}"


def all_settings(config: Mapping[str, Any]) -> Iterator[Setting]:
    """Yield everything that the config file and variables set, the latter last."""
    yield from _keys(config)
    for table in (key for key, value in config.items() if isinstance(value, Mapping)):
        yield from _keys(config, table)
    yield from _variables(PREFIX)


def _is_of(variable: Setting, command: str, options: Collection[str]) -> bool:
    """Return whether a variable sets an option of a command, alone or for all commands."""
    return variable.option in options or variable.option.removeprefix(f"{command}-") in options


def _prefix_of(command: str) -> str:
    return f"{PREFIX}{command.replace('-', '_').upper()}_"


def _keys(config: Mapping[str, Any], command: str = "") -> Iterator[Setting]:
    """Yield the values of the table of a command in the config file, or of the top level for all commands."""
    table = config.get(command, {}) if command else config
    for key, value in table.items() if isinstance(table, Mapping) else ():
        if command or not isinstance(value, Mapping):
            yield Setting(key.replace("_", "-"), value, f"{command and command + '.'}{key} in {config_path()}")


def _variables(prefix: str) -> Iterator[Setting]:
    """Yield the environment variables that begin with a prefix; an empty one is as good as none."""
    for name, value in os.environ.items():
        if name.startswith(prefix) and name not in RESERVED and value:
            yield Setting(name.removeprefix(prefix).lower().replace("_", "-"), value, name)


def _converted(option: click.Option, setting: Setting) -> Any:
    """Return a value as click takes it from its ``default_map``: texts, which options parse as on the command line."""
    value = setting.value
    if isinstance(value, list):
        texts = [_text(setting, one) for one in value]
        if option.multiple:
            return texts
        if isinstance(option.type, (ListParam, LiteralChoices, SeedsParam)):
            return ",".join(texts)
        raise InvalidParameter(f"config: {setting.origin} has {len(texts)} values: {option.opts[-1]} takes one")
    text = _text(setting, value)
    return [text] if option.multiple else text


def _text(setting: Setting, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, (str, int, float)):
        raise InvalidParameter(f"config: {setting.origin} is not allowed: give a text, a number, true or false")
    return str(value)


def apply_settings(ctx: click.Context, *, shared: bool) -> None:
    """Set the ``default_map`` of a command's context; raises InvalidParameter for a config file that is not allowed."""
    config = read_config()
    for warning in check_settings(ctx.command, config, lambda: options_of_all(ctx)):
        click.echo(f"Warning: {warning}", err=True)
    settings = settings_of(ctx.command, config, shared=shared)
    ctx.default_map = {name: setting.value for name, setting in settings.items()}
    ctx.meta[_SETTINGS] = settings


def options_of_all(ctx: click.Context) -> Options:
    """Return the options of all commands beside that of a context."""
    root = ctx.find_root()
    assert isinstance(root.command, click.Group)
    commands = {name: root.command.get_command(root, name) for name in root.command.list_commands(root)}
    return {name: set(options_of(command)) for name, command in commands.items() if command is not None}


def settings_in_use(ctx: click.Context) -> dict[str, Setting]:
    """Return the settings that the command line does not replace, by the names of their parameters."""
    source = click.core.ParameterSource.DEFAULT_MAP
    settings: Mapping[str, Setting] = ctx.meta.get(_SETTINGS, {})
    return {name: one for name, one in settings.items() if ctx.get_parameter_source(name) == source}


def without_settings(options: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return options without the values that settings gave to some of them."""
    ctx = click.get_current_context()
    settings = settings_in_use(ctx).keys() & set(names)
    return {
        name: (() if isinstance(value, tuple) else None) if name in settings else value
        for name, value in options.items()
    }
