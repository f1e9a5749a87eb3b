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
    name = call.get("name")
    if not isinstance(name, str) or not all(isinstance(key, str) for key in call):
        raise ValueError('give a name, or a mapping such as {"name": "ddim", "eta": 0.5}')
    given = {key: value for key, value in call.items() if key != "name" and value is not None}
    options = ",".join(f"{key}={_write_value(key, value)}" for key, value in given.items())
    return f"{name}:{options}" if options else name


def _write_value(key: str, value: Any) -> str:
    """Return the text of an option; a mapping of words to numbers is ``word:number+word:number``."""
    if isinstance(value, Mapping):
        value = "+".join(f"{word}:{number}" for word, number in value.items())
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    read = _read_value(text.strip())
    if "," in text or "," in key or type(read) is not type(value) or read != value:
        raise ValueError(
            f"the option {key}={str(value)[:60]!r} is no number, truth value or text that one line of a recipe holds: "
            "commas, spaces at its ends and numbers as text are not possible"
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
