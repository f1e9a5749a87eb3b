"""Typed parameters: one declaration gives validation, command-line options, recipes and report rows."""

from __future__ import annotations

import dataclasses as dc
import inspect
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from annotated_types import Ge, Gt, Le, Lt
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ..errors import InvalidParameter, did_you_mean
from .calls import scalar_of, write_call
from .plain_values import plain_default, read_plain


class Params(BaseModel):
    """Base class of all parameter declarations: frozen, without unknown names, NaN or infinity."""

    # Validators are built at the first validation, since a list of commands needs none.
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, strict=True, validate_default=True, defer_build=True
    )

    follows: ClassVar[Mapping[str, frozenset[str]]] = {}
    """Parameters that an operation fills in where they are not given, each with those that it follows from. A replay
    that changes one of these fills it in anew."""

    @field_validator("*", mode="before")
    @classmethod
    def unwrap_scalar(cls, value: Any, info: ValidationInfo) -> Any:
        """Convert a scalar of numpy or torch to Python's type, so that a numpy bool is no number either.

        A call of a registered name that is a mapping becomes its text.
        """
        metadata = field_metadata(cls.model_fields[str(info.field_name)])
        if "image" in metadata:
            return value
        if "registry" in metadata:
            return _call_as_text(value)
        return scalar_of(value)

    @field_validator("*", mode="wrap")
    @classmethod
    def take_plain(cls, value: Any, check: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        """Take a value in its plain form too, as recipes hold it: a list for a tuple, the value of an Enum."""
        try:
            return check(value)
        except ValidationError as refused:
            field = cls.model_fields[str(info.field_name)]
            kind = refused.errors()[0]["type"]
            is_other = isinstance(value, (list, dict)) or kind == "is_instance_of" or kind.endswith("_type")
            if not is_other or "image" in field_metadata(field):
                raise
            return check(read_plain(value, field, refused))

    @field_validator("*", mode="after")
    @classmethod
    def check_text(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse text that is not valid Unicode, which neither a tokenizer nor a recipe accepts; paths may be bytes."""
        metadata = field_metadata(cls.model_fields[str(info.field_name)])
        if isinstance(value, str) and "path" not in metadata and "output" not in metadata:
            _check_unicode(value)
        return value

    @classmethod
    def parse(cls, owner: str, values: Mapping[str, Any], *, others: Iterable[str] = ()) -> Self:
        """Check ``values`` and return them typed; ``owner`` names the operation or plugin in error messages.

        ``others`` are further names for the message about a parameter that does not exist.
        Raises InvalidParameter, naming the first parameter that is wrong, its value and the allowed values.
        """
        images = image_fields(cls)  # ``None`` means "not given", also for required images
        try:
            return cls(**{name: value for name, value in values.items() if value is not None or name not in images})
        except ValidationError as error:
            # A validator may have copied a wrong value to another parameter: name the one that was passed.
            problems = sorted(error.errors(), key=lambda problem: not (set(problem["loc"][:1]) <= set(values)))
            raise InvalidParameter(cls._explain(owner, problems[0], others)) from None

    @classmethod
    def check_value(cls, owner: str, name: str, value: Any) -> None:
        """Raise InvalidParameter if one parameter may not have a value, whatever the others have."""
        try:
            cls(**{name: value})
        except ValidationError as error:
            problem = next((one for one in error.errors() if one["loc"][:1] == (name,)), None)
            if problem is not None:
                raise InvalidParameter(cls._explain(owner, problem, ())) from None

    def is_default(self, name: str) -> bool:
        """Return whether a parameter has its default, which a recipe names like any other value."""
        return bool(getattr(self, name) == type(self).model_fields[name].default)

    @classmethod
    def _explain(cls, owner: str, problem: ErrorDetails, others: Iterable[str]) -> str:
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden" and name in others:  # as in a step of a pipeline
            return f"{owner} has no parameter {name!r}: it is an argument of the whole call; give it there"
        if problem["type"] == "extra_forbidden":
            return f"{owner} has no parameter {shorten(name)}; {did_you_mean(name, (*cls.model_fields, *others))}"
        if problem["type"] == "missing" and name in cls.model_fields:
            return f"{owner} needs the parameter {name!r}: {cls.model_fields[name].description}"
        if not problem["loc"]:  # of several parameters together, which the reason names
            return f"{owner}: {problem['msg'].removeprefix('Value error, ')}"
        reason = reason_of_refusal(problem, cls.model_fields.get(name))
        return f"{owner}: {name}={shorten(problem['input'])} is not allowed: {reason}"


def reason_of_refusal(problem: ErrorDetails, field: FieldInfo | None) -> str:
    """Return why a value is not allowed, with all bounds of its field, of which pydantic names one or none."""
    reason = problem["msg"].removeprefix("Value error, ")
    bounds = ", ".join(bounds_text(field)) if field and problem["type"] != "value_error" else ""
    return f"{reason[0].lower()}{reason[1:]}{f'; allowed: {bounds}' if bounds else ''}"


_BOUNDS = ((Ge, "ge", "at least"), (Gt, "gt", "more than"), (Le, "le", "at most"), (Lt, "lt", "less than"))


def bounds_text(field: FieldInfo) -> Iterator[str]:
    """Yield the bounds of a number in words."""
    bounds = {type(bound): bound for bound in field.metadata}
    low, high = bounds.get(Ge), bounds.get(Le)
    if low and high:
        yield f"{_number_text(low.ge)} to {_number_text(high.le)}"
        bounds = {Gt: bounds.get(Gt), Lt: bounds.get(Lt)}
    for kind, attribute, words in _BOUNDS:
        if bounds.get(kind):
            yield f"{words} {_number_text(getattr(bounds[kind], attribute))}"


def _number_text(number: Any) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def shorten(value: Any) -> str:
    """Return the ``repr`` of a value in one line of at most 60 characters; the whole of a large one is not built."""
    text = " ".join(line.strip() for line in _BoundedRepr().repr(value).splitlines())  # that of an array has several
    return text if len(text) <= 60 else f"{text[:57]}..."


class _BoundedRepr(reprlib.Repr):
    """``repr`` whose cost does not depend on the size of a value."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxother = 3, 100
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = self.maxdeque = 20

    def repr_str(self, x: str, level: int) -> str:
        return repr(x[:60])

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() <= 1000 else f"<int of {x.bit_length()} bits>"


def _call_as_text(value: Any) -> Any:
    """Return the text of a call of a registered name that is a mapping, or of those in a list; others are unchanged."""
    if not isinstance(value, (list, tuple)):
        return write_call(value) if isinstance(value, Mapping) else value
    if not any(isinstance(one, Mapping) for one in value):
        return value
    return [write_call(one) if isinstance(one, Mapping) else one for one in value]


def _check_unicode(text: str) -> None:
    """Raise ValueError for text with lone surrogates: bytes of the command line that are not UTF-8, for example."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"character {error.start + 1} is not valid Unicode: write the text in UTF-8") from None


@dc.dataclass(frozen=True)
class EffectIf:
    """Condition under which a parameter has an effect, in the ``Annotated`` type of its field.

    ``condition`` is a function of all parameters and the model. The sentence "NAME=VALUE has no effect" is completed by
    ``otherwise``.
    The report of an edit warns of a parameter without effect, unless it has its default.

    Example: ``width: Annotated[float, EffectIf(lambda params, model: params.soft, "soft is off")] = Field(1.0, ...)``
    """

    condition: Callable[[Any, Any], bool]
    otherwise: str


def without_effect(params: Params, model: Any) -> Iterator[str]:
    """Yield a warning for each parameter that is set but has no effect with this model, by its :class:`EffectIf`."""
    for name, field in type(params).model_fields.items():
        effects = [entry for entry in field.metadata if isinstance(entry, EffectIf)]
        if not effects or params.is_default(name):
            continue
        missing = next((effect for effect in effects if not effect.condition(params, model)), None)
        if missing:
            yield f"{name}={shorten(getattr(params, name))} has no effect: {missing.otherwise}"


def _names(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        raise ValueError("give a list of names")
    return tuple(value)


NameList = Annotated[tuple[str, ...], BeforeValidator(_names)]
"""Type of a field that holds several names: a list or a tuple, and no other iterable."""


def RegisteredName(kind: str, default: str | tuple[str, ...] | None, description: str) -> Any:  # noqa: N802 (used as pydantic's Field is)
    """Field that holds the name of a registered ``kind``, with options after a colon; checked before any work.

    In Python and in files a mapping is possible too, ``{"name": "ddim", "eta": 0.5}``; the field holds its text.
    """
    return Field(default, description=description, json_schema_extra={"registry": kind})


def ImageParam(kind: Literal["mask", "map"], description: str, *, required: bool = False) -> Any:  # noqa: N802
    """Field that holds an image: a file on the command line and in pipelines, any source of open_image in Python.

    An operation gets it in the size of the edited image and in mode L, or RGB for a map with colours. A recipe does not
    name its file; it holds the image's size and digest.
    """
    default = ... if required else None
    return Field(default, exclude=True, description=description, json_schema_extra={"image": kind})


def ImagesParam(description: str) -> Any:  # noqa: N802
    """Field that holds several images of any size: a source of open_image, or a list of them.

    An option of the command line is repeated for several. An operation gets a tuple of images of mode RGB or RGBA. A
    recipe holds size and digest of each.
    """
    return Field((), exclude=True, description=description, json_schema_extra={"image": SEVERAL})


SEVERAL = "several"
"""Kind of the fields that hold several images."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


def PathParam(default: Any, description: str) -> Any:  # noqa: N802
    """Field that names a folder on this machine, or weights to download; a replay takes neither from a file."""
    return Field(default, min_length=1, description=description, json_schema_extra={"path": True})


def OutputParam(description: str) -> Any:  # noqa: N802
    """Field of a command that names an image file to write, None for none.

    The command line checks it before the command runs, and says so if it has replaced a file.
    """
    return Field(None, description=description, json_schema_extra={"output": True})


def field_metadata(field: FieldInfo) -> dict[str, Any]:
    """Metadata of a field besides its type: ``registry``, ``image``, ``path``, ``output`` or ``argument``."""
    return dict(field.json_schema_extra) if isinstance(field.json_schema_extra, dict) else {}


def fields_of(params: type[Params]) -> dict[str, FieldInfo]:
    """Return the fields of a declaration: required ones first, then the class's own, then those of its base classes."""
    # Base classes follow in the order of inheritance, so that parameters common to most operations stand last.
    declared = [name for cls in params.__mro__ for name in inspect.get_annotations(cls)]
    return dict(
        sorted(params.model_fields.items(), key=lambda item: (not item[1].is_required(), declared.index(item[0])))
    )


def is_default(field: FieldInfo, value: Any) -> bool:
    """Whether a plain value, as in a report or a recipe, is the default of a field."""
    if field.is_required():
        return False
    plain = plain_default(field)
    return isinstance(value, bool) == isinstance(plain, bool) and bool(value == plain)


def output_fields(params: type[Params]) -> list[str]:
    """Names of the fields that hold a file to write."""
    return [name for name, field in params.model_fields.items() if "output" in field_metadata(field)]


def image_fields(params: type[Params]) -> dict[str, str]:
    """Names of the fields that hold images, each with its kind: ``mask``, ``map`` or :data:`SEVERAL`."""
    metadata = {name: field_metadata(field) for name, field in params.model_fields.items()}
    return {name: extra["image"] for name, extra in metadata.items() if "image" in extra}
