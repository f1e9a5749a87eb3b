"""Options and arguments of a command, computed from the fields of a parameter declaration."""

from __future__ import annotations

import itertools
import json
import os
import re
import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from click.shell_completion import CompletionItem
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from ..files.paths import exists
from ..registry.params import SEVERAL, Params, bounds_text, field_metadata, fields_of, reason_of_refusal, shorten
from ..registry.plain_values import choices_of, plain_default
from ..registry.registry import Registry, installed
from ..sampling.params import DrawingParams

MOST_RESULTS = 10_000
"""Most results of one input."""

_CONTAINERS = (list, tuple, set, frozenset, dict)


_JSON = """give JSON such as [1, 2] or ["a", "b"]"""
_METAVARS = {int: "INTEGER", float: "NUMBER", str: "TEXT"}


class CompletedText(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """Text that a shell completes: the path of a file or a folder, or a registered name of some kinds."""

    name = "text"

    def __init__(self, path: Literal["file", "dir"] | None = "file", names: Iterable[str] = ()) -> None:
        self.path, self.names = path, names

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        # An unset variable in a script: neither the current folder nor an option that is left out is meant.
        if value == "":
            self.fail("it is empty: give a path or a name" if self.path else "it is empty: give a name", param, ctx)
        return expand_home(value) if self.path else value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        paths = [CompletionItem(incomplete, type=self.path)] if self.path else []
        specs = {spec.name: spec for kind in self.names for spec in installed().specs[kind].values()}
        found = [spec for name, spec in sorted(specs.items()) if name.startswith(incomplete)]
        # bash forgets the names before a path.
        return [*paths, *(CompletionItem(spec.name, help=spec.summary) for spec in found)]


def expand_home(value: Any) -> Any:
    """Return a path that begins with the folder of a user (~/, ~name/) with that folder's path.

    A shell does so for words of their own alone: not in ``--output=~/x``, between quotes and in a config file. The
    value is unchanged if it is another one, or if there is something of that very name.
    """
    first = value.split("/")[0] if isinstance(value, str) else ""
    return os.path.expanduser(value) if first.startswith("~") and not exists(first) else value  # noqa: PTH111


class TypedParam(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """Text parsed as a declared Python type, lists and mappings as JSON; bounds are checked later."""

    def __init__(self, annotation: Any, metavar: str, extra: Mapping[str, Any], field: FieldInfo | None = None) -> None:
        self.annotation, self.name, self.extra, self.field = annotation, metavar, extra, field

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        is_path = "path" in self.extra or ("argument" in self.extra and _inner_type(self.annotation) is str)
        names = [self.extra["registry"]] if "registry" in self.extra else []
        return CompletedText("file" if is_path else None, names).shell_complete(ctx, param, incomplete)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        value = _decode_argument(expand_home(value) if "path" in self.extra else value)
        adapter: TypeAdapter[Any] = TypeAdapter(self.annotation)
        read = adapter.validate_json if _is_container(self.annotation) else adapter.validate_strings
        try:
            return read(value)
        except ValidationError as error:
            problem = error.errors()[0]
            reason = _JSON if problem["type"] == "json_invalid" else reason_of_refusal(problem, self.field)
            self.fail(f"{shorten(value)} is not allowed: {reason}", param, ctx)


def _decode_argument(text: str) -> str:
    """Decode an argument as UTF-8 where Python took the locale's encoding; other bytes stay lone surrogates."""
    try:
        return os.fsencode(text).decode()
    except UnicodeError:
        return text


class SeedsParam(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """Seeds of several variants: numbers and ranges that include both ends, such as 7, 0-3 or 0,5,9."""

    name = "INTEGER"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        if re.fullmatch(r"-?[0-9]{1,30}", value):  # one seed, whose bounds the declaration checks
            return (int(value),)
        if not re.fullmatch(r"[0-9]{1,30}(-[0-9]{1,30})?(,[0-9]{1,30}(-[0-9]{1,30})?)*", value):
            self.fail(f"{shorten(value)} is not allowed: give a number, a range 0-3 or a list 0,5,9", param, ctx)
        ends = [[int(end) for end in part.split("-")] for part in value.split(",")]
        ranges = [range(part[0], part[-1] + 1) for part in ends]
        count = sum(part.stop - part.start for part in ranges)
        if count > MOST_RESULTS or not all(ranges):
            reason = f"it has {count} seeds, at most {MOST_RESULTS} are allowed" if all(ranges) else "a range rises"
            self.fail(f"{shorten(value)} is not allowed: {reason}", param, ctx)
        seeds = tuple(itertools.chain(*ranges))
        if len(set(seeds)) < count:
            self.fail(f"{shorten(value)} is not allowed: a seed is given twice", param, ctx)
        return seeds


class ListParam(TypedParam):
    """Numbers of several variants, separated by commas, each parsed as a declared type."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(super(ListParam, self).convert(part.strip(), param, ctx) for part in value.split(","))


class LiteralChoice(click.Choice):  # type: ignore[type-arg]  # generic in newer versions only
    """The values of a Literal or an Enum, which may be other types than text."""

    def __init__(self, values: tuple[Any, ...]) -> None:
        super().__init__([str(value) for value in values])
        self.values = {str(value): value for value in values}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return self.values[super().convert(str(value), param, ctx)]


class LiteralChoices(LiteralChoice):
    """Values of a Literal or an Enum for several variants, separated by commas."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        return tuple(super(LiteralChoices, self).convert(part.strip(), param, ctx) for part in str(value).split(","))


class DescribedArgument(click.Argument):
    """Argument with a description for the help, for which click before 8.5 has no place."""

    def __init__(self, name: str, description: str, *, required: bool, **attributes: Any) -> None:
        metavar = name.upper() if required else f"[{name.upper()}]"
        super().__init__([name], required=required, metavar=metavar, **attributes)
        self.description = description

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        return str(self.metavar), self.description


def may_be_listed(field: FieldInfo) -> bool:
    """Return whether an option of a command of several results may have several values: numbers, names and texts."""
    extra, inner = field_metadata(field), _inner_type(field.annotation)
    if extra.get("argument") or "image" in extra or "path" in extra:
        return False
    return inner in (int, float, str) or bool(choices_of(inner))


def parameters_of(params: type[Params], registry: Registry, *, several: bool = False) -> list[click.Parameter]:
    """Return one option per field: required ones first, then the class's own, then those of its base classes.

    A field with ``json_schema_extra={"argument": True}`` becomes an argument, ``{"letter": "o"}`` gives an option a
    short form, ``{"also": ["size"]}`` further long names, and ``{"repeated": True}`` lets the option of a list be
    repeated. With ``several``, for a command of several results, an option for an image or a text may be repeated,
    numbers and choices may be lists, and the seed a range, too.
    """
    from_model = left_to_model(params)
    options = [
        _parameter_of(name, field, registry, several, name in from_model) for name, field in fields_of(params).items()
    ]
    if several and issubclass(params, DrawingParams):
        seed = next(option for option in options if option.name == "seed")
        seed.type = SeedsParam()
        assert isinstance(seed, click.Option)
        seed.help = f"{seed.help}  0-3 gives a result for each."
    return options


def left_to_model(params: type[Params]) -> frozenset[str]:
    """Return the parameters whose default is the usual value of the model, if it has one."""
    return params.from_model if issubclass(params, DrawingParams) else frozenset()


def _parameter_of(name: str, field: FieldInfo, registry: Registry, several: bool, from_model: bool) -> click.Parameter:
    extra = field_metadata(field)
    inner = _inner_type(field.annotation)
    text = f"{field.description or ''}{details_of(field, registry, from_model=from_model)}"
    if extra.get("argument"):
        return DescribedArgument(name, text, type=_type_of(field), required=field.is_required())
    flag = name.replace("_", "-")
    letter = [f"-{extra['letter']}"] if "letter" in extra else []
    names = [*letter, f"--{flag}", *(f"--{other}" for other in extra.get("also", ())), name]
    if extra.get("image") == SEVERAL:
        return click.Option(
            [f"--{flag}", name], metavar="FILE", type=CompletedText(), multiple=True, help=f"{text} May be repeated."
        )
    if "image" in extra or "output" in extra:
        repeated = several and "image" in extra
        text += " May be repeated, once for each IMAGE." if repeated else ""
        return click.Option([f"--{flag}", name], metavar="FILE", type=CompletedText(), multiple=repeated, help=text)
    if _is_container(field.annotation) and ("registry" in extra or extra.get("repeated")):
        kind = TypedParam(str, "NAME" if "registry" in extra else "TEXT", extra)
        return click.Option([f"--{flag}", name], type=kind, multiple=True, help=f"{text} May be repeated.")
    if inner is bool:
        return click.Option([f"--{flag}/--no-{flag}", name], default=None, help=text)
    return _value_option(names, field, text, listed=several and may_be_listed(field))


def _value_option(names: list[str], field: FieldInfo, text: str, *, listed: bool) -> click.Option:
    """Return the option of one value; ``listed`` if it may have several, which make several results."""
    kind = _type_of(field)
    if not listed:
        return click.Option(names, type=kind, default=None, help=text)
    if isinstance(kind, LiteralChoice):
        return click.Option(names, type=LiteralChoices(tuple(kind.values.values())), default=None, help=text)
    if _inner_type(field.annotation) is str:
        return click.Option(names, type=kind, default=None, multiple=True, help=text)
    return click.Option(names, type=ListParam(kind.annotation, kind.name, kind.extra, field), default=None, help=text)


def _type_of(field: FieldInfo) -> TypedParam | LiteralChoice:
    inner = _inner_type(field.annotation)
    if choices := choices_of(inner):
        return LiteralChoice(choices)
    extra = field_metadata(field)
    metavar = "NAME" if "registry" in extra else _METAVARS.get(inner, "TEXT")
    return TypedParam(field.annotation, "JSON" if _is_container(field.annotation) else metavar, extra, field)


def metavar_of(field: FieldInfo) -> str:
    """Return the kind of value of a field in one word, or the values that it may have."""
    if {"image", "output"} & {*field_metadata(field)}:
        return "FILE"
    if _inner_type(field.annotation) is bool:
        return "on or off"
    kind = _type_of(field)
    return ", ".join(kind.choices) if isinstance(kind, LiteralChoice) else kind.name


def _inner_type(annotation: Any) -> Any:
    """Return the type inside ``T | None`` and ``Annotated[T, ...]``; a union of several types is unchanged."""
    if get_origin(annotation) is Annotated:
        return _inner_type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        return _inner_type(members[0]) if len(members) == 1 else annotation
    return annotation


def _is_container(annotation: Any) -> bool:
    inner = _inner_type(annotation)
    return inner in _CONTAINERS or get_origin(inner) in _CONTAINERS


def details_of(field: FieldInfo, registry: Registry, *, from_model: bool = False) -> str:
    """Return bounds, allowed names and default of a field, in brackets; ``from_model`` if the model may set it."""
    parts = list(bounds_text(field))
    kind = field_metadata(field).get("registry")
    if kind:
        parts.append(f"one of {', '.join(sorted(registry.specs[kind]))}")
    default = None if field.is_required() else plain_default(field)
    if field.is_required():
        parts.append("required")
    elif isinstance(default, bool):
        parts.extend(["default: on"] if default else [])
    elif default not in (None, "", [], {}):
        text = json.dumps(default) if isinstance(default, (list, dict)) else default
        parts.append(f"default: the model's own, else {text}" if from_model else f"default: {text}")
    return f"  [{'; '.join(parts)}]" if parts else ""
