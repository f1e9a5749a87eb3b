"""Registered operations as Python functions, computed from their parameter declarations."""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from .errors import PluginFailure, did_you_mean
from .registry.params import SEVERAL, field_metadata, fields_of, image_fields
from .registry.registry import Registry, installed
from .registry.specs import OperationSpec

_SOURCE = "Anything editkit.open_image reads: a path, bytes, a PIL image, a Result, an array or a tensor."
_INVERSION = "A result of editkit.invert, or its file."
_Inputs = Sequence[tuple[str, Any, str]]
"""Positional parameters of a function, each with its type and its description."""


def function_names() -> list[str]:
    """Return the names of the functions of all registered operations: hyphens are underscores."""
    return sorted(name.replace("-", "_") for name in installed().specs["operations"])


def function_of(name: str) -> Callable[..., Any]:
    """Return the function of a registered operation; raises AttributeError if none has this name."""
    if name.startswith("_"):  # of Python's own protocols
        raise AttributeError(f"editkit.ops has no attribute {name!r}")
    operation, registry = name.replace("_", "-"), installed()
    if operation not in registry.specs["operations"] or "-" in name:
        raise AttributeError(f"editkit.ops has no operation {name!r}; {did_you_mean(name, function_names())}")
    return _function(registry, operation)


@functools.cache
def _function(registry: Registry, operation: str) -> Callable[..., Any]:
    """Return the function of an operation, one object for each, so that it can be pickled."""
    from .editing.animation.apply import apply_to_animation
    from .editing.apply import apply
    from .editing.many.apply_all import apply_all
    from .images.animation.frames import Animation

    spec: OperationSpec = registry.spec("operations", operation)
    names = [name for name, _, _ in _inputs_of(spec)]
    inputs = inspect.Signature([inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names])

    def function(*args: Any, **given: Any) -> Any:
        try:
            bound = inputs.bind(*args, **{name: given.pop(name) for name in names if name in given})
        except TypeError as error:
            raise TypeError(f"{function.__name__}(): {error}") from None
        image = bound.args if len(names) > 1 else next(iter(bound.args), None)
        if len(names) == 1 and isinstance(image, (list, tuple)):
            return apply_all(spec.name, image, **given)
        if isinstance(image, Animation):
            return apply_to_animation(spec.name, image, **given)
        return apply(spec.name, image, **given)

    function.__name__ = function.__qualname__ = operation.replace("-", "_")
    function.__module__ = "editkit.ops"
    function.__signature__ = signature_of(registry, spec)  # type: ignore[attr-defined]
    function.__doc__ = docstring_of(spec)
    return function


def signature_of(registry: Registry, spec: OperationSpec) -> inspect.Signature:
    """Return the signature of an operation's function: its images, its parameters, and the arguments of apply.

    Raises PluginFailure if a parameter has the name of one of the others.
    """
    from .editing.apply import apply
    from .editing.results.result import Result
    from .inversion.inversion import Inversion

    parameters = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=kind)
        for name, kind, _ in _inputs_of(spec)
    ]
    images = image_fields(spec.params)
    parameters += [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty
            if field.is_required()
            else field.get_default(call_default_factory=True, validated_data={}),
            annotation=_type_of_image(field, images[name]) if name in images else _type_of(field),
        )
        for name, field in fields_of(spec.params).items()
    ]
    parameters += [
        parameter
        for parameter in inspect.signature(apply, eval_str=True).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    names = [parameter.name for parameter in parameters]
    taken = next((name for name in names if names.count(name) > 1), None)
    if taken:
        owner = registry.owners["operations", spec.name]
        raise PluginFailure(f"operation {spec.name!r} of plugin {owner}: its parameter {taken!r} is taken")
    return inspect.Signature(parameters, return_annotation=Inversion if spec.gives == "inversion" else Result)


def docstring_of(spec: OperationSpec) -> str:
    """Return the documentation of an operation's function: a line for each image and parameter."""
    lines = [(name, text) for name, _, text in _inputs_of(spec)]
    lines += [(name, _description_of(field)) for name, field in fields_of(spec.params).items()]
    blocks = [
        spec.summary,
        "\n".join(f"{name}: {' '.join(text.split())}" for name, text in lines),
        "The arguments from model on are those of editkit.apply."
        + " A list of images returns a list of results, as editkit.apply_all does, and an Animation an AnimationResult."
        * (spec.takes == "image"),
        *([f"Source: {spec.source}"] if spec.source else []),
    ]
    return "\n\n".join(blocks)


def _inputs_of(spec: OperationSpec) -> _Inputs:
    """Return the images of an operation."""
    if spec.takes == "nothing":
        return ()
    if spec.takes == "two images":
        return ("a", "Source", _SOURCE), ("b", "Source", f"Of the same size. {_SOURCE}")
    if spec.takes == "inversion":
        return (("inversion", "Inversion | str | PathLike[str]", _INVERSION),)
    if spec.edits_inversion:
        return (("image", "Source | Inversion", f"{_SOURCE} Or an inversion: {_INVERSION[0].lower()}{_INVERSION[1:]}"),)
    return (("image", "Source", _SOURCE),)


def _type_of_image(field: FieldInfo, kind: str) -> str:
    """Return the type of a parameter that holds images."""
    mask = "Source | MaskSpecification | PaintedMask | Mapping[str, Any]"
    allowed = {"mask": mask, SEVERAL: "Source | Sequence[Source]"}.get(kind, "Source")
    return allowed if field.is_required() or kind == SEVERAL else f"{allowed} | None"


def _description_of(field: FieldInfo) -> str:
    """Return the description of a parameter, with the values that it has in Python alone."""
    metadata, text = field_metadata(field), field.description or ""
    if "registry" in metadata:
        return f'{text} Or a mapping: {{"name": NAME, "OPTION": VALUE}}.'
    if metadata.get("image") == "mask":
        return f'{text} Or a mapping: {{"words": "the hat"}} or {{"inside": [(x, y)], "outside": []}}.'
    return text


def _type_of(field: FieldInfo) -> Any:
    """Return the type of the values that a parameter takes."""
    return _as_input(field.annotation, str | Mapping[str, Any] if "registry" in field_metadata(field) else str)


def _as_input(annotation: Any, text: Any) -> Any:
    """Return the type of the values that a field of this type takes: a tuple may be a list, and text is ``text``."""
    if annotation is str:
        return text
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _as_input(arguments[0], text)
    if origin in (Union, UnionType):
        return functools.reduce(operator.or_, (_as_input(one, text) for one in arguments))
    if origin is tuple and arguments[1:] == (...,):
        return Sequence[_as_input(arguments[0], text)]  # type: ignore[misc]  # computed
    return annotation
