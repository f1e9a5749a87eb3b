"""Loaders of implementations by reference, for the ``load`` of a spec."""

from __future__ import annotations

import functools
import pkgutil
import warnings
from collections.abc import Callable
from typing import Any

from .params import Params


def by_name(name: str) -> Callable[[], Any]:
    """Return a ``load`` for a spec that refers to an object by ``name``: ``package.module:Name``.

    The module is imported when ``load`` is called, not before. A class is returned as a function of the spec's
    parameters: it builds an instance with every field of ``params`` as a keyword argument. A function, or any other
    object, is returned unchanged. ``load`` raises the exceptions of the import, and AttributeError if the module
    has no such name.

    Example: ``InverterSpec(name="edict", load=by_name("editkit_inverters.edict:Edict"), params=EdictParams, ...)``
    """

    def load() -> Any:
        with warnings.catch_warnings():
            # Of tqdm in a notebook without widgets, which diffusers imports; nothing of editkit needs them.
            warnings.filterwarnings("ignore", message="IProgress not found")
            implementation = pkgutil.resolve_name(name)
        return _builder(implementation) if isinstance(implementation, type) else implementation

    return load


def _builder(kind: type) -> Callable[[Params], Any]:
    """Return a function that builds a ``kind`` with the fields of parameters as keyword arguments."""

    @functools.wraps(kind, updated=())
    def build(params: Params) -> Any:
        return kind(**{field: getattr(params, field) for field in type(params).model_fields})

    return build
