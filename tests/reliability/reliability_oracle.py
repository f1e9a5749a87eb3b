"""Whether the declaration of a parameter, read as JSON schema, allows a value: an oracle apart from pydantic."""

from __future__ import annotations

import decimal
import fractions
import functools
import math
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from editkit.registry.params import Params
from editkit.registry.specs import OperationSpec

Schema = Mapping[str, Any]
BOUNDS = {
    "minimum": operator.ge,
    "maximum": operator.le,
    "exclusiveMinimum": operator.gt,
    "exclusiveMaximum": operator.lt,
}


def schema_of(spec: OperationSpec) -> Mapping[str, Schema]:
    """Schemas of an operation's parameters by name."""
    return _schemas(spec.params)


@functools.cache
def _schemas(params: type[Params]) -> Mapping[str, Schema]:
    properties: dict[str, Schema] = params.model_json_schema()["properties"]
    return properties


def is_allowed(schema: Schema, value: Any) -> bool | None:
    """Whether a declaration allows a value; None where it does not say."""
    options = schema.get("anyOf", [schema])
    kinds = {option.get("type") for option in options}
    if {"registry", "path", "image"} & schema.keys() or not kinds <= {"null", "boolean", "string", "integer", "number"}:
        return None
    if value is None:
        return "null" in kinds
    return max((_fits(option, value) for option in options), key=[False, None, True].index)


def _fits(schema: Schema, value: Any) -> bool | None:
    kind = schema.get("type")
    if kind == "boolean":
        return True if isinstance(value, bool) else None if getattr(value, "shape", None) == () else False
    if kind == "string":
        return _is_text(schema, value)
    return kind != "null" and _is_number(schema, value)


def _is_text(schema: Schema, value: Any) -> bool | None:
    if not isinstance(value, str):
        return False
    if "enum" in schema:
        return value in schema["enum"]
    encodable = not any("\ud800" <= letter <= "\udfff" for letter in value)
    return None if encodable and len(value) >= schema.get("minLength", 0) else False


def _is_number(schema: Schema, value: Any) -> bool | None:
    if isinstance(value, (decimal.Decimal, fractions.Fraction)) or getattr(value, "shape", None) == ():
        return None  # one number all the same
    if isinstance(value, (bool, np.bool_, np.complexfloating)) or not isinstance(value, (int, float, np.number)):
        return False
    if isinstance(value, (float, np.floating)) and not math.isfinite(value):
        return False
    if schema["type"] == "integer" and not isinstance(value, (int, np.integer)):
        return None if value == int(value) else False
    return None if all(fits(value, schema[name]) for name, fits in BOUNDS.items() if name in schema) else False
