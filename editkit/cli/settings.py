"""Values of options by environment variables and by a config file, for click's ``default_map``."""

from __future__ import annotations

import dataclasses as dc
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from ..errors import InvalidParameter, close_names, did_you_mean
from ..files.cache_folder import CACHE_VARIABLE, is_own
from ..files.paths import is_folder
from ..files.read_errors import read_reason
from ..files.reading import read_bounded
from .options import ListParam, LiteralChoices, SeedsParam

PREFIX = "EDITKIT_"
CONFIG_VARIABLE = "EDITKIT_CONFIG"
"""Environment variable that names the config file; empty for none."""
RESERVED = frozenset({CACHE_VARIABLE, CONFIG_VARIABLE})
"""Variables that are no options."""

_SETTINGS = "editkit.settings"
_OPTIONS, _COMMANDS = "editkit COMMAND --help", "editkit --help"
"""Commands that list the names of options and of commands."""
_DEFAULT = re.compile("default: |required$")
_EXCLUSIVE = (
    {"existing", "skip_existing", "overwrite"},
    {"recipe", "embed_sources"},
    {"mask", "mask_dir"},
    {"prompt", "prompt_file"},
    {"target", "prompt_file"},
)
"""Options of which a command takes one: a setting gives way to another of its group on the command line."""
_WITH_QUALITY = (".jpg", ".jpeg", ".webp", ".avif")
"""Suffixes of the formats that have a quality."""
_CLOSE = 3
"""Most names that a misspelt one may be meant for."""


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
        text, own = read_bounded(path), is_own(path.stat())
    except FileNotFoundError:
        if CONFIG_VARIABLE in os.environ:
            raise InvalidParameter(f"config {str(path)!r} does not exist: change {CONFIG_VARIABLE}") from None
        return {}
    except OSError as error:
        raise InvalidParameter(f"config {str(path)!r} cannot be read: {read_reason(error)}") from None
    if not own:
        raise InvalidParameter(f"config {str(path)!r} belongs to another user: copy it, or set {CONFIG_VARIABLE}")
    import tomllib

    try:
        return tomllib.loads(text.decode("utf-8-sig"))
    except RecursionError:
        raise InvalidParameter(f"config {str(path)!r} is nested too deeply: write keys and tables of them") from None
    except ValueError as error:  # also of a number of thousands of digits
        raise InvalidParameter(f"config {str(path)!r} is no TOML: {error}") from None


def settings_of(command: click.Command, config: Mapping[str, Any], *, shared: bool) -> dict[str, Setting]:
    """Return the settings of a command by the names of its parameters; a variable replaces a key of the config file.

    The top level of the file, and variables without a command in their name, are for all commands that have the option,
    if ``shared``. Raises InvalidParameter for a value of another kind than the option's.
    """
    chosen = chosen_settings(command, config, shared=shared)
    return {str(option.name): dc.replace(one, value=default_map_value(option, one)) for option, one in chosen}


def chosen_settings(
    command: click.Command, config: Mapping[str, Any], *, shared: bool
) -> list[tuple[click.Option, Setting]]:
    """Return the settings of a command as they are written, with its options."""
    options, name = options_of(command), str(command.name)
    of_all = ([*_keys(config)], [*_variables(PREFIX)]) if shared else ([], [])
    found = [*of_all[0], *_keys(config, name), *of_all[1], *_variables(_prefix_of(name))]
    chosen = {options[one.option].name: (options[one.option], one) for one in found if one.option in options}
    return list(chosen.values())


def options_of(command: click.Command) -> dict[str, click.Option]:
    """Return the options of a command by their long names, without the hyphens before them."""
    options = [param for param in command.params if isinstance(param, click.Option)]
    return {name[2:]: option for option in options for name in option.opts if name.startswith("--")}


Options = Mapping[str, Collection[str]]
"""Names of the options of commands by the names of commands."""


@dc.dataclass(frozen=True)
class Fault:
    """Key of the config file that is no option, or table that is no command."""

    message: str
    commands: frozenset[str]
    """Commands that it may be meant for: that of its table, or those that have an option of a close name."""


def check_settings(command: click.Command, config: Mapping[str, Any], every: Callable[[], Options]) -> list[str]:
    """Return a warning for each variable that sets no option, and for each fault of the config file.

    Raises InvalidParameter for a fault that may be meant for this command. ``every`` returns the options of all
    commands; it is called if this command does not have all that is set.
    """
    known: Options = {str(command.name): set(options_of(command))}
    if not [*config_faults(config, known), *variable_problems(known)]:
        return []
    commands = every()
    faults = [*config_faults(config, commands)]
    for fault in faults:
        if command.name in fault.commands:
            raise InvalidParameter(fault.message)
    return [*(fault.message for fault in faults), *variable_problems(commands)]


def config_faults(config: Mapping[str, Any], commands: Options) -> Iterator[Fault]:
    """Yield a fault for each key of the config file that is no option, and each table that is no command."""
    names = {option for options in commands.values() for option in options}
    for one in _keys(config):
        if one.option in commands and one.option not in names:
            message = f"config: {one.origin} is a command: write a table of its options"
            yield Fault(message, frozenset({one.option}))
        elif one.option not in names:
            close = set(close_names(one.option, names, _CLOSE))
            having = frozenset(name for name, options in commands.items() if close & set(options))
            yield Fault(f"config: {one.origin} is no option; {did_you_mean(one.option, names, _OPTIONS)}", having)
    for table in (key for key, value in config.items() if isinstance(value, Mapping)):
        if table not in commands:
            message = f"config: [{table}] in {config_path()} is no command; {did_you_mean(table, commands, _COMMANDS)}"
            yield Fault(message, frozenset(close_names(table, commands, _CLOSE)))
            continue
        for one in _keys(config, table):
            if one.option not in commands[table]:
                closest = did_you_mean(one.option, commands[table])
                yield Fault(f"config: {one.origin} is no option of {table}; {closest}", frozenset({table}))


def variable_problems(commands: Options) -> Iterator[str]:
    """Yield a message for each variable that sets no option of the commands."""
    names = {option for options in commands.values() for option in options}
    for one in _variables(PREFIX):
        if not any(_is_of(one, *pair) for pair in commands.items()):
            yield f"{one.origin} sets no option; {did_you_mean(one.option, names, _OPTIONS)}"


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


def default_map_value(option: click.Option, setting: Setting) -> Any:
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


def _contradicted(given: Mapping[str, Any]) -> set[str]:
    """Return the options whose settings the options on the command line replace by another of their kind."""
    names = {name for group in _EXCLUSIVE if group & given.keys() for name in group}
    output = str(given.get("output", ""))
    suffix = os.path.splitext(output)[1].lower()  # noqa: PTH122 (a Path refuses some names)
    if suffix and not is_folder(output):  # the name of a file says its format
        names |= {"format"} if suffix in _WITH_QUALITY else {"format", "quality"}
    return names - given.keys()


def apply_settings(ctx: click.Context, given: Mapping[str, Any], *, shared: bool, needs_file: bool) -> None:
    """Set the ``default_map`` of a command's context, without what contradicts the ``given`` options.

    Raises InvalidParameter for what is wrong and may be meant for this command, and for a config file that cannot be
    read if the command ``needs_file``; the rest is printed as warnings.
    """
    warnings = []
    try:
        config = read_config()
    except InvalidParameter as error:
        if needs_file:
            raise
        config, warnings = {}, [str(error)]
    if not shared:
        config = {key: value for key, value in config.items() if isinstance(value, Mapping)}
    warnings += check_settings(ctx.command, config, lambda: options_of_all(ctx))
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)
    replaced = _contradicted(given)
    found = settings_of(ctx.command, config, shared=shared)
    settings = {name: one for name, one in found.items() if name not in replaced}
    ctx.default_map = {name: setting.value for name, setting in settings.items()}
    ctx.meta[_SETTINGS] = settings


def commands_of_all(ctx: click.Context) -> dict[str, click.Command]:
    """Return all commands beside that of a context."""
    root = ctx.find_root()
    assert isinstance(root.command, click.Group)
    commands = {name: root.command.get_command(root, name) for name in root.command.list_commands(root)}
    return {name: command for name, command in commands.items() if command is not None}


def options_of_all(ctx: click.Context) -> Options:
    """Return the options of all commands beside that of a context."""
    return {name: set(options_of(command)) for name, command in commands_of_all(ctx).items()}


def with_own_default(ctx: click.Context, option: str, text: str) -> str:
    """Return the help of an option, with the setting in place of its default if there is one."""
    setting = ctx.meta.get(_SETTINGS, {}).get(option)
    if setting is None:
        return text
    value = ", ".join(setting.value) if isinstance(setting.value, list) else setting.value
    details = re.search(r"  \[([^]]*)\]", text)
    start, end = details.span() if details else (len(text), len(text))
    others = [part for part in (details[1] if details else "").split("; ") if part and not _DEFAULT.match(part)]
    own = f"default: {value}, from {setting.origin}"
    return f"{text[:start]}  [{'; '.join([*others, own])}]{text[end:]}"


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
