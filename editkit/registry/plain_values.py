"""Plain forms of the values of parameters, as JSON, recipes and manifests hold them."""

from __future__ import annotations

import enum
import json
from typing import Any, Literal, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

_MOST_ENTRIES = 100_000
"""Most entries of a list or a mapping that is read in its plain form."""


def read_plain(value: Any, field: FieldInfo, refused: ValidationError) -> Any:
    """Return a value of a field from its plain form; raises ValidationError if that is not allowed either."""
    if not _has_few_entries(value):
        raise refused
    try:
        return TypeAdapter(field.annotation or Any).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        # The plain form names the members of an Enum, and the element of a list that is wrong.
        first, plain = refused.errors()[0], error.errors()[0]
        raise error if first["type"] == "is_instance_of" or len(plain["loc"]) > len(first["loc"]) else refused from None
    except (TypeError, ValueError, RecursionError):  # JSON has no such value
        raise refused from None


def _has_few_entries(value: Any) -> bool:
    """Return whether a value has at most :data:`_MOST_ENTRIES` entries at all depths; aliases of YAML may nest them."""
    open_values, left = [value], _MOST_ENTRIES
    while open_values:
        one = open_values.pop()
        entries = one.values() if isinstance(one, dict) else one if isinstance(one, (list, tuple)) else ()
        left -= len(entries)
        if left < 0:
            return False
        open_values.extend(entries)
    return True


def plain_default(field: FieldInfo) -> Any:
    """Return the default of a field in its plain form, as recipes and manifests hold it: a list for a tuple."""
    default = field.get_default(call_default_factory=True, validated_data={})
    return to_jsonable_python(default, fallback=lambda unknown: unknown)


def choices_of(annotation: Any) -> tuple[Any, ...]:
    """Return the plain values that a field of a type may have, of a Literal or an Enum; none if it is another type."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return tuple(to_jsonable_python(member) for member in annotation)
    return ()
