"""Checks of the arguments of public functions, by their names and before any work."""

from __future__ import annotations

import dataclasses as dc
import functools
import inspect
import operator
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar

from ..errors import InvalidParameter
from .calls import scalar_of
from .params import shorten

P = ParamSpec("P")
R = TypeVar("R")

_NUMBER = re.compile(r"\b(int|float|bool)\b")
"""Annotation of an argument that may be a number or a truth value."""
_LONGEST_PATH, _LONGEST_NAME = 4095, 255
"""Most bytes of a path and of each name in it, as file systems allow."""


@dc.dataclass(frozen=True)
class ArgumentKind:
    """Values that an argument may have, and the words for them in an error."""

    accepts: Callable[[Any], bool]
    allowed: str

    def check(self, name: str, value: Any) -> None:
        """Raise InvalidParameter, naming argument and value, unless the value is allowed."""
        if not self.accepts(value):
            raise InvalidParameter(f"{name}={shorten(value)} is not allowed: give {self.allowed}")

    def or_none(self) -> ArgumentKind:
        """Return the kind that also accepts None."""
        return ArgumentKind(lambda value: value is None or self.accepts(value), self.allowed)

    def or_each(self) -> ArgumentKind:
        """Return the kind that also accepts a list of such values."""
        each = f"{self.allowed}, or a list of them"
        return ArgumentKind(
            lambda value: self.accepts(value) or (isinstance(value, (list, tuple)) and all(map(self.accepts, value))),
            each,
        )


def _is_path(value: Any) -> bool:
    if not isinstance(value, (str, os.PathLike)):
        return False
    path = os.fspath(value)
    if not isinstance(path, str) or "\0" in path:
        return False
    try:
        data = os.fsencode(path)
    except UnicodeEncodeError:  # of surrogates that stand for no byte
        return False
    return len(data) <= _LONGEST_PATH and all(len(name) <= _LONGEST_NAME for name in data.split(os.fsencode(os.sep)))


def _is_whole(value: Any) -> bool:
    """Whether a value is a whole number, also one of numpy or torch."""
    if isinstance(value, bool) or "bool" in str(getattr(value, "dtype", "")):
        return False
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def _is_several(value: Any) -> bool:
    """Whether a value stands for several images in their order; an array or a tensor may be one image."""
    if isinstance(value, (str, bytes, bytearray, Mapping, set, frozenset)) or not isinstance(value, Iterable):
        return False
    shape = tuple(getattr(value, "shape", (0,)))
    is_one = len(shape) == 2 or (len(shape) == 3 and not {1, 3, 4}.isdisjoint((shape[0], shape[-1])))
    return bool(shape) and not is_one


def _is_size(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == 2 and all(_is_whole(side) and side > 0 for side in value)


FLAG = ArgumentKind(lambda value: isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"), "True or False")
TEXT = ArgumentKind(lambda value: isinstance(value, str), "text")
NAME = ArgumentKind(lambda value: isinstance(value, str) and len(value) <= _LONGEST_NAME, "a name")
WHOLE = ArgumentKind(_is_whole, "a whole number")
PATH = ArgumentKind(_is_path, "a path whose names have at most 255 bytes")
PAIRS = ArgumentKind(
    lambda value: (
        isinstance(value, (list, tuple))
        and all(isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], str) for pair in value)
    ),
    "a list of (label, image)",
)
MODEL = ArgumentKind(
    lambda value: _is_path(value) or (hasattr(value, "denoise") and not isinstance(value, type)),
    "a loaded model, or its name, folder, file or hub id, and a pipeline of diffusers by editkit.from_pipe",
).or_none()
WORKERS = ArgumentKind(lambda value: _is_whole(value) and value >= 0, "a whole number of at least 0").or_none()
GPUS = ArgumentKind(
    lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf"),
    "a number above 0",
).or_none()
_KINDS = {
    "model": MODEL,
    "device": ArgumentKind(
        lambda value: isinstance(value, str) or _is_whole(value) or type(value).__name__ == "device",
        "a device such as 'cpu' or 'cuda:1'",
    ).or_none(),
    "dtype": ArgumentKind(
        lambda value: isinstance(value, str) or "dtype" in type(value).__name__.lower(), "a dtype such as 'float32'"
    ).or_none(),
    "allow_urls": FLAG,
    "compile": FLAG,
    "compile_decoder": FLAG,
    "offload": FLAG,
    "group_offload": FLAG,
    "tiling": FLAG,
    "cache": FLAG,
    "exact": FLAG,
    "keep_gps": FLAG,
    "progress": ArgumentKind(callable, "a function such as tqdm.tqdm").or_none(),
    "batch": ArgumentKind(lambda value: _is_whole(value) and value >= 1, "a whole number of at least 1"),
    "seeds": ArgumentKind(
        lambda value: (
            hasattr(value, "__len__")
            and not isinstance(value, (str, bytes, bytearray, Mapping, set, frozenset))
            and getattr(value, "ndim", 1) > 0
        ),
        "a list of whole numbers",
    ).or_none(),
    "each": ArgumentKind(
        lambda value: (
            isinstance(value, (list, tuple))
            and all(isinstance(one, Mapping) and all(isinstance(name, str) for name in one) for one in value)
        ),
        "a list of mappings of parameters to values",
    ).or_none(),
    "images": ArgumentKind(_is_several, "a list of images"),
    "rows": ArgumentKind(
        lambda value: isinstance(value, Iterable) and not isinstance(value, (str, bytes, bytearray, Mapping)),
        "an iterable of rows",
    ),
    "path": ArgumentKind(lambda value: isinstance(value, (str, os.PathLike)), "a path"),
    "argument": TEXT,
    "suffix": TEXT,
    "recipe": TEXT,
    "accelerate": NAME.or_none(),
    "variant": NAME.or_none(),
    "revision": NAME.or_none(),
    "prediction": TEXT.or_none(),
    "text": TEXT,
    "set": ArgumentKind(lambda value: isinstance(value, Mapping), "a mapping of parameters to values").or_none(),
    "size": ArgumentKind(_is_size, "a pair (width, height) of whole numbers").or_none(),
}
"""Kinds of the arguments that have one meaning in all public functions."""


def check_arguments(**kinds: ArgumentKind) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator of functions whose arguments are checked by name; ``kinds`` are further or other kinds.

    A number of numpy or torch is passed on as Python's. A wrong value raises InvalidParameter, naming argument and
    value. A missing argument, or one that does not exist, is Python's TypeError.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        checked = {name: kind for name, kind in {**_KINDS, **kinds}.items() if name in signature.parameters}
        numbers = {name for name, one in signature.parameters.items() if _NUMBER.search(str(one.annotation))}

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError:
                return function(*args, **kwargs)
            bound.arguments |= {name: scalar_of(bound.arguments[name]) for name in numbers & bound.arguments.keys()}
            for name in checked.keys() & bound.arguments.keys():
                checked[name].check(name, bound.arguments[name])
            return function(*bound.args, **bound.kwargs)

        return call

    return decorate
