"""Values of a manifest as those of parameters."""

from __future__ import annotations

import functools
import json
from typing import Any, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from editkit import EffectIf, InvalidParameter, MaskSpecification, PaintedMask, Params

MOST_KEPT = 10_000


def is_text(value: Any) -> bool:
    """Return whether a value is valid text."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


@functools.cache
def plain_texts(params: type[Params]) -> frozenset[str]:
    """Return the parameters that hold any text."""
    return frozenset(
        name
        for name, field in params.model_fields.items()
        if field.annotation is str
        and field.json_schema_extra in (None, {"argument": True})
        and all(isinstance(one, EffectIf) for one in field.metadata)
    )


@functools.cache
def image_kinds(params: type[Params]) -> dict[str, str]:
    """Return the kinds of the parameters that are images, by their names."""
    extras = {name: field.json_schema_extra for name, field in params.model_fields.items()}
    return {name: str(extra["image"]) for name, extra in extras.items() if isinstance(extra, dict) and "image" in extra}


def mask_without_file(kind: str, value: Any) -> str | None:
    """Return the text of a mask of strokes, words or points; None for a file."""
    mask = (PaintedMask.parse(value) or MaskSpecification.parse(value)) if kind == "mask" else None
    return None if mask is None else str(mask)


def whole_number(params: type[Params], name: str, value: Any) -> Any:
    """Return a real number without fraction as an integer, if the parameter is one: JSON and Parquet mix them."""
    if type(value) is not float or not value.is_integer() or name not in params.model_fields:
        return value
    annotation = params.model_fields[name].annotation
    return int(value) if int in (annotation, *get_args(annotation)) else value


@functools.lru_cache(maxsize=MOST_KEPT)
def from_text(params: type[Params], name: str, text: str) -> Any:
    """Return a value of CSV as the type of its parameter; lists and mappings are JSON, a list of one may be text."""
    field = params.model_fields.get(name)
    if field is None or field.annotation is str:
        return text
    origins = {get_origin(one) for one in (field.annotation, *get_args(field.annotation))}
    if field.annotation is Any or origins & {tuple, list, set, frozenset}:
        listed = json_list(text)
        return listed if listed is not None else text if field.annotation is Any else [text]
    adapter = _adapter(params, name)
    try:
        return adapter.validate_json(text) if text[:1] == "{" else adapter.validate_strings(text)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise InvalidParameter(f"{name}={text[:60]!r} is not allowed: {reason[0].lower()}{reason[1:]}") from None


@functools.cache
def _adapter(params: type[Params], name: str) -> TypeAdapter[Any]:
    return TypeAdapter(params.model_fields[name].annotation or Any)


def json_list(text: str) -> list[Any] | None:
    """Return the list that a text is in JSON, else None."""
    if not text.startswith("["):
        return None
    try:
        listed = json.loads(text)
    except ValueError:
        return None
    return listed if isinstance(listed, list) else None
