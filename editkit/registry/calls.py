"""Calls of registered names, as text ``name:option=value,...`` and as mappings ``{"name": ..., option: value}``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..errors import InvalidParameter


def read_call(call: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the options of a call; raises InvalidParameter for an option that is given twice."""
    name, _, options = call.partition(":")
    values: dict[str, Any] = {}
    for option in filter(None, options.split(",")):
        key, _, text = option.partition("=")
        key = key.strip().replace("-", "_")
        if key in values:
            raise InvalidParameter(f"{call[:60]!r}: the option {key!r} is given twice: leave one out")
        values[key] = _read_value(text.strip())
    return name, values


def write_call(call: Mapping[str, Any]) -> str:
    """Return the text of a call that is a mapping; raises ValueError for values that the text cannot hold."""
    entries = entries_of(call)
    name = entries.pop("name", None)
    if not isinstance(name, str):
        reason = 'give a name, or a mapping such as {"name": "ddim", "eta": 0.5}'
        raise ValueError(reason)  # noqa: TRY004 (the error that validators raise)
    given = {key: value for key, value in entries.items() if value is not None}
    options = ",".join(f"{key}={_write_value(key, value)}" for key, value in given.items())
    return f"{name}:{options}" if options else name


def entries_of(mapping: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the entries of a mapping by their names; none of one that has other keys or cannot be read."""
    try:
        entries = dict(mapping)
    except Exception:  # an object from outside may raise anything
        return {}
    return entries if all(isinstance(key, str) for key in entries) else {}


def scalar_of(value: Any) -> Any:
    """Return a scalar of numpy or torch as Python's type, and any other value unchanged."""
    try:
        is_scalar = getattr(value, "shape", None) == () and callable(getattr(value, "item", None))
        return value.item() if is_scalar else value
    except Exception:  # an object from outside may raise anything
        return value


def _write_value(key: str, value: Any) -> str:
    """Return the text of an option; a mapping of words to numbers is ``word:number+word:number``."""
    if isinstance(value, Mapping):
        value = "+".join(f"{word}:{_write_value(key, number)}" for word, number in entries_of(value).items())
    value = os.fspath(value) if isinstance(value, os.PathLike) else scalar_of(value)
    text = str(value) if type(value) in (str, int, float) else "true" if value is True else "false"
    read = _read_value(text.strip())
    if "," in text or "," in key or type(read) is not type(value) or read != value:
        raise ValueError(
            f"the option {key[:60]!r} is no number, truth value or text that one line of a recipe holds: commas, "
            "spaces at its ends and numbers as text are not possible"
        )
    return text


def _read_value(text: str) -> Any:
    """Convert a text to a bool, int or float if it is one, otherwise return it."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
