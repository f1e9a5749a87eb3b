"""The form of an operation, computed from its declared parameters."""

from __future__ import annotations

import dataclasses as dc
import inspect
import json
import re
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

import editkit
from editkit import (
    DrawingParams,
    EditkitError,
    InvalidParameter,
    OperationSpec,
    Params,
    check_params,
    choices_of,
    path_params,
    plain_default,
)

Kind = Literal["text", "integer", "number", "switch", "choice", "names", "file", "files", "json"]
MASK = "mask"
_PROMPTS = ("instruction", "prompt", "source", "target")
_USUAL = ("seed", "steps", "guidance", "negative_prompt", "auto_mask")
_LARGEST = 2**53 - 1
"""Largest number up to which a browser has every whole number."""
_SERVER = ("segmenter",)
"""Parameters that the page sets itself: masks of clicks and words are found before an edit."""


@dc.dataclass(frozen=True)
class FormField:
    """One parameter as a form shows it."""

    name: str
    kind: Kind
    help: str
    default: Any = None
    required: bool = False
    usual: bool = False
    """Whether it stands before "More"."""
    choices: tuple[Any, ...] = ()
    unit: str = ""
    is_registered: bool = False
    """Whether it is a registered name, which may have options after a colon."""

    @property
    def label(self) -> str:
        """Name in words."""
        words = self.name.replace("_", " ")
        return words[0].upper() + words[1:]


def form_fields(params: type[Params]) -> list[FormField]:
    """Return the fields of a declaration: required ones and prompts first, then its own, then the usual ones."""
    own = set(inspect.get_annotations(params))
    from_model = params.from_model if issubclass(params, DrawingParams) else frozenset()
    fields = [
        _form_field(name, field, name in own or name in _USUAL or name in _PROMPTS, name in from_model)
        for name, field in params.model_fields.items()
        if name not in (MASK, *_SERVER) and "path" not in _metadata(field)
    ]
    order = [*_PROMPTS, *params.model_fields]
    return sorted(fields, key=lambda one: (not one.usual, not one.required, one.name in _USUAL, order.index(one.name)))


def has_mask(params: type[Params]) -> bool:
    """Return whether an operation takes a mask."""
    return MASK in params.model_fields


def argument_names(params: type[Params]) -> list[str]:
    """Return the parameters that are arguments of the command line, not options."""
    return [name for name, field in params.model_fields.items() if _metadata(field).get("argument")]


def needs_mask(params: type[Params]) -> bool:
    """Return whether an operation does nothing without a mask."""
    return has_mask(params) and params.model_fields[MASK].is_required()


def read_values(spec: OperationSpec, entries: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values that the entries of a form ask for, and problems by field.

    An entry that is empty or equals the default is left out, so that a model may choose its own. Problems of several
    fields together have the name ``""``.
    """
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for field in form_fields(spec.params):
        entry = entries.get(field.name)
        if entry is None or entry in ("", [], ()) or (entry == field.default and not field.required):
            continue
        try:
            values[field.name] = _read_entry(spec.params.model_fields[field.name], field, entry)
        except ValueError as error:
            problems[field.name] = str(error)
    return values, find_problems(spec, values) | problems


def find_problems(spec: OperationSpec, values: Mapping[str, Any]) -> dict[str, str]:
    """Return problems of values by field, as pydantic and the look-up of registered names find them."""
    # The mask is drawn later; a stand-in satisfies a declaration that requires one.
    checked = {**({MASK: b"mask"} if has_mask(spec.params) else {}), **values}
    try:
        spec.params(**checked)
    except ValidationError as error:
        return {str(one["loc"][0]) if one["loc"] else "": _reason(one["type"], one["msg"]) for one in error.errors()}
    try:
        for name in path_params(check_params(spec.name, checked)):
            if name not in (MASK, *_image_names(spec.params)):
                raise InvalidParameter(f"{spec.name}: {name} names a file: whoever starts the server may give files")
    except EditkitError as error:
        text = str(error).removeprefix(f"{spec.name}: ")
        return {_field_of(spec.params, values, text): text}
    return {}


def _field_of(params: type[Params], values: Mapping[str, Any], text: str) -> str:
    """Return the field that a message is about: one that it names, or whose registered name it quotes; else ``""``."""
    for name, value in values.items():
        registered = "registry" in _metadata(params.model_fields[name])
        calls = [str(one).partition(":")[0] for one in (value if isinstance(value, tuple) else (value,))]
        if text.startswith((f"{name}=", f"{name} ")) or (registered and any(repr(one) in text for one in calls)):
            return name
    return ""


def _image_names(params: type[Params]) -> list[str]:
    return [name for name, field in params.model_fields.items() if "image" in _metadata(field)]


def _reason(kind: str, message: str) -> str:
    text = "required" if kind == "missing" else message.removeprefix("Value error, ")
    return text[0].upper() + text[1:]


def _form_field(name: str, field: FieldInfo, usual: bool, from_model: bool) -> FormField:
    kind, choices = _kind(field)
    text = field.description or ""
    number = kind in ("integer", "number")
    return FormField(
        name,
        kind,
        text + (" The model's own when empty." if from_model else "") + _range_text(field) * number,
        default=None if from_model or field.is_required() else plain_default(field),
        required=field.is_required(),
        usual=usual or field.is_required(),
        choices=choices,
        unit="px" if number and re.search(r"^Pixels|in pixels", text) else "",
        is_registered="registry" in _metadata(field),
    )


def _range_text(field: FieldInfo) -> str:
    """Return the bounds of a number as a sentence."""
    bounds = {type(bound): bound for bound in field.metadata}
    low = next((getattr(bounds[one], at) for one, at in ((Ge, "ge"), (Gt, "gt")) if one in bounds), None)
    high = next((getattr(bounds[one], at) for one, at in ((Le, "le"), (Lt, "lt")) if one in bounds), None)
    if low is not None and high is not None:
        return f" From {low:g} to {high:g}."
    return "" if low is None else f" At least {low:g}."


def _kind(field: FieldInfo) -> tuple[Kind, tuple[Any, ...]]:
    """Return the kind of widget and the values to choose from."""
    extra, inner = _metadata(field), _inner(field.annotation)
    if "image" in extra:
        return ("files" if extra["image"] == "several" else "file"), ()
    if "registry" in extra:
        names = tuple(sorted(getattr(editkit, extra["registry"])()))
        return ("names" if get_origin(inner) is tuple else "choice"), names
    if choices := choices_of(inner):
        return "choice", choices
    kinds: dict[Any, Kind] = {bool: "switch", int: "integer", float: "number", str: "text"}
    return kinds.get(inner, "json"), ()


def _inner(annotation: Any) -> Any:
    """Return the type inside ``T | None`` and ``Annotated[T, ...]``."""
    if get_origin(annotation) is Annotated:
        return _inner(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        return _inner(members[0]) if len(members) == 1 else annotation
    return annotation


def _metadata(field: FieldInfo) -> dict[str, Any]:
    return dict(field.json_schema_extra) if isinstance(field.json_schema_extra, dict) else {}


def _read_entry(declared: FieldInfo, field: FormField, entry: Any) -> Any:
    """Return the entry of a widget as a value of its parameter; raises ValueError with the reason."""
    if field.kind == "integer":
        if isinstance(entry, float) and not entry.is_integer():
            raise ValueError("Give a whole number")
        if entry > _LARGEST:
            raise ValueError(f"Give a number up to {_LARGEST}: a browser rounds larger ones")
        return int(entry)
    if field.kind == "number":
        return float(entry)
    if field.kind == "names":
        return tuple(entry)
    if field.kind == "json" and isinstance(entry, str):
        return _read_json(declared, entry)
    return entry


def _read_json(declared: FieldInfo, text: str) -> Any:
    """Return a value of several types, or of a container, from its text."""
    adapter: TypeAdapter[Any] = TypeAdapter(declared.annotation or Any)
    try:
        return adapter.validate_strings(text)
    except ValidationError:
        pass
    try:
        return adapter.validate_python(json.loads(text))
    except (ValidationError, ValueError):
        raise ValueError("Give the value as JSON, such as [0.2, 0.8]") from None
