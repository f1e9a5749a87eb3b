"""Paths in values of parameters: whether there are any, and values without the folders of this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from .params import Params, field_metadata
from .registry import Registry

_PUBLIC_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?")


def without_folder(name: str) -> str:
    """Return the last part of a path, for files that leave this machine; a registered name or hub id is unchanged.

    A name that could be both, ``models/mine``, is a path if it exists here.
    """
    path = os.path.expanduser(name)  # noqa: PTH111 (Path's raises for unknown users)
    if _PUBLIC_NAME.fullmatch(name) and not name.startswith(".") and not os.path.lexists(path):
        return name
    path = path.encode(errors="replace").decode()  # a path may hold bytes that are no text
    last = re.split(r"[\\/]", path.rstrip("\\/"))[-1]  # of paths of any system
    return last if last.strip(".") else Path(os.path.abspath(path)).name or "folder"  # noqa: PTH100


def names_path(registry: Registry, name: str, field: FieldInfo, value: Any) -> bool:
    """Return whether the value of a parameter is a path, or a registered name with a path among its options."""
    if _is_path(field):
        return value is not None
    return any(
        names_path(registry, option, inner, getattr(options, option))
        for _, options in registry.resolve_names(name, field, value)
        for option, inner in type(options).model_fields.items()
    )


def without_folders(registry: Registry, params: type[Params], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain values of parameters with every path in them reduced to its last name, for a recipe."""
    return map_paths(registry, params, values, without_folder)


def map_paths(
    registry: Registry, params: type[Params], values: Mapping[str, Any], replace: Callable[[str], str]
) -> dict[str, Any]:
    """Return plain values of parameters with every path in them, also in options of registered names, replaced."""
    fields = params.model_fields
    return {
        name: _map_paths(registry, fields[name], value, replace) if name in fields else value
        for name, value in values.items()
    }


def _map_paths(registry: Registry, field: FieldInfo, value: Any, replace: Callable[[str], str]) -> Any:
    if isinstance(value, (list, tuple)):
        return [_map_paths(registry, field, one, replace) for one in value]
    if not isinstance(value, str):
        return value
    if _is_path(field):
        return replace(value)
    kind = field_metadata(field).get("registry")
    name, colon, options = value.partition(":")
    spec = None if kind is None else registry.specs[kind].get(name)
    if spec is None or not colon:
        return value
    parts = []
    for option in options.split(","):
        key, equals, text = option.partition("=")
        inner = spec.params.model_fields.get(key.strip().replace("-", "_"))
        parts.append(option if inner is None else f"{key}{equals}{_map_paths(registry, inner, text, replace)}")
    return f"{name}:{','.join(parts)}"


def _is_path(field: FieldInfo) -> bool:
    return not field_metadata(field).keys().isdisjoint({"path", "image"})
