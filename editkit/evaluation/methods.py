"""Methods: an operation with options, applied to the cases of a data set."""

from __future__ import annotations

import dataclasses as dc
import re
from collections.abc import Container, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from ..editing.apply import execute
from ..editing.request import Request, prepare
from ..editing.results.result import Result
from ..errors import InvalidParameter, did_you_mean
from ..images.sources import format_size
from ..model.backend import Backend
from ..registry.params import field_metadata, shorten
from ..registry.registry import Registry, installed
from ..registry.specs import OperationSpec
from .cases import Case

_OPTION = re.compile(r"(?:[^,\[\]]|\[[^\[\]]*\])+")
"""An option: text without a comma outside square brackets."""
_ANNOTATED = "annotated"
"""Value of the option ``mask`` that stands for the mask of the case."""


@dc.dataclass(frozen=True)
class EditMethod:
    """An operation with options, whose prompts come from the case."""

    text: str
    """The method as it was written, its name in tables."""
    operation: str
    values: Mapping[str, Any]
    """Parameters by name."""
    masked: bool = False
    """Whether the operation gets the mask of the case."""

    @classmethod
    def parse(cls, text: str) -> EditMethod:
        """Read ``operation:option=value,...``.

        A value in square brackets may hold commas, such as the options of an inverter:
        ``prompt-edit:inverter=[rex:order=2,coupling=0.99],steps=20``. An option of several names is repeated.
        ``mask=annotated`` gives the operation the mask of each case. Raises an EditkitError for a name or an option
        that is not allowed.
        """
        name, _, options = text.partition(":")
        spec: OperationSpec = installed().spec("operations", name.strip())
        if (spec.takes, spec.gives) != ("image", "image"):
            raise InvalidParameter(
                f"method {shorten(text)} is not allowed: {spec.name} takes {spec.takes} and gives an {spec.gives}, and "
                "a method edits one image"
            )
        values = _read_options(spec, options)
        mask = values.pop("mask", None)
        required = "mask" in spec.params.model_fields and spec.params.model_fields["mask"].is_required()
        return cls(text, spec.name, values, masked=required or mask is not None)

    def check(self, case: Case, seed: int) -> None:
        """Raise an EditkitError for parameters that are not allowed, or that change the size, without a model."""
        request = self._request(installed(), case, frozenset(), seed)
        if request.result_size not in (None, case.image.size):
            raise InvalidParameter(
                f"method {self.text!r} is not allowed: its result has {format_size(request.result_size)} pixels and "
                f"the image {format_size(case.image.size)}; only results of the image's size can be measured"
            )

    def arguments(self, case: Case, provides: Container[str]) -> dict[str, Any]:
        """Return the parameters for a case and a model with these capabilities."""
        fields = installed().spec("operations", self.operation).params.model_fields
        given = self._instruction(case, provides) if "instruction" in fields else _prompts(case)
        given |= {"mask": self._mask(case)} if self.masked else {}
        return {name: value for name, value in given.items() if name in fields} | dict(self.values)

    def edit(self, case: Case, model: Backend, seed: int) -> Result:
        """Return the edit of a case; no inversion of an earlier edit is used."""
        registry = installed()
        result: Result = execute(registry, self._request(registry, case, model.provides, seed), model, cache=False)
        return result

    def row(self, case: Case, provides: Container[str], seed: int) -> dict[str, Any]:
        """Return the edit of a case as a row of :func:`editkit.edit_rows`; errors are those of the parameters."""
        row = {"seed": seed} | self.arguments(case, provides)
        return row | {"operation": self.operation, "image": case.image}

    def _request(self, registry: Registry, case: Case, provides: Container[str], seed: int) -> Request:
        """Return the checked call for a case; a seed among the options replaces the given one."""
        return prepare(registry, self.operation, case.image, {"seed": seed} | self.arguments(case, provides))

    def _instruction(self, case: Case, provides: Container[str]) -> dict[str, Any]:
        """Return the instruction, with the source prompt unless a model reads the image and the instruction."""
        if not case.instruction:
            raise InvalidParameter(
                f"case {case.name!r} has no instruction, which {self.operation} needs: use a method with two prompts"
            )
        method = self.values.get("method")
        reads = method == "ip2p" or "captioner" in self.values or ("instructions" in provides and method != "inversion")
        return {"instruction": case.instruction} | ({} if reads else {"source": case.source})

    def _mask(self, case: Case) -> Any:
        if case.mask is None:
            raise InvalidParameter(f"case {case.name!r} has no mask, which {self.text!r} needs: leave the method out")
        return case.mask


def _prompts(case: Case) -> dict[str, Any]:
    return {"source": case.source, "target": case.target, "prompt": case.target}


def _read_options(spec: OperationSpec, text: str) -> dict[str, Any]:
    """Return typed values of options; raises InvalidParameter, naming the option, for one that is not allowed."""
    parts = _OPTION.findall(text)
    if ",".join(parts) != text:
        raise InvalidParameter(
            f"method of {spec.name}: the options {shorten(text)} are not allowed: write option=value,option=value, and "
            "put a value with commas in square brackets"
        )
    values: dict[str, Any] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        name, value = name.strip().replace("-", "_"), value.strip()
        field = spec.params.model_fields.get(name)
        if field is None or not equals:
            closest = did_you_mean(name, spec.params.model_fields)
            raise InvalidParameter(f"method of {spec.name}: there is no option {shorten(part)}; {closest}")
        value = value[1:-1] if value.startswith("[") and value.endswith("]") else value
        several = "registry" in field_metadata(field) and field.annotation is not str and _holds_several(field)
        if name in values and not several:
            raise InvalidParameter(f"method of {spec.name}: the option {name!r} is given twice: leave one out")
        values[name] = (*values.get(name, ()), value) if several else _read_value(spec, name, field, value)
    return values


def _choices(annotation: Any) -> tuple[Any, ...]:
    """Return the values of a Literal, also of one that may be None; nothing for another type."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    members = [member for member in get_args(annotation) if member is not type(None)]
    return _choices(members[0]) if len(members) == 1 else ()


def _holds_several(field: FieldInfo) -> bool:
    return isinstance(field.default, tuple)


def _read_value(spec: OperationSpec, name: str, field: FieldInfo, text: str) -> Any:
    """Return the typed value of an option."""
    if "image" in field_metadata(field):
        if name == "mask" and text == _ANNOTATED:
            return text
        raise InvalidParameter(
            f"method of {spec.name}: {name}={shorten(text)} is not allowed: a method has no image of its own; "
            f"mask={_ANNOTATED} gives it the mask of each case"
        )
    choices = {str(value): value for value in _choices(field.annotation)}
    if choices:
        if text not in choices:
            raise InvalidParameter(
                f"method of {spec.name}: {name}={shorten(text)} is not allowed: one of {', '.join(choices)}"
            )
        return choices[text]
    adapter: TypeAdapter[Any] = TypeAdapter(field.annotation or Any)
    try:
        return adapter.validate_strings(text)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise InvalidParameter(
            f"method of {spec.name}: {name}={shorten(text)} is not allowed: {reason[0].lower()}{reason[1:]}"
        ) from None
