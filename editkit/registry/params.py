"""Typed parameters: declared once, checked once, and turned into options, recipes and report rows by others."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ..errors import InvalidParameter, did_you_mean


class Params(BaseModel):
    """Base of all parameter declarations: frozen, unknown names refused, NaN and infinity refused."""

    # What checks values is built when the first are checked: a list of commands needs none.
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, strict=True, validate_default=True, defer_build=True
    )

    @classmethod
    def parse(cls, owner: str, values: dict[str, Any]) -> Self:
        """Check ``values`` and return them typed; ``owner`` is whose parameters they are, for the message.

        Raises InvalidParameter, naming the first parameter that is wrong, its value and what is allowed.
        """
        pictures = image_fields(cls)  # of which None is none, also where one is needed
        try:
            return cls(**{name: value for name, value in values.items() if value is not None or name not in pictures})
        except ValidationError as error:
            raise InvalidParameter(cls.explain(owner, error.errors()[0])) from None

    @classmethod
    def explain(cls, owner: str, problem: ErrorDetails) -> str:
        name = ".".join(str(part) for part in problem["loc"]) or "parameters"
        if problem["type"] == "extra_forbidden":
            return f"{owner} has no parameter {name!r}; {did_you_mean(name, cls.model_fields)}"
        if problem["type"] == "missing":
            return f"{owner} needs the parameter {name!r}: {cls.model_fields[name].description}"
        allowed = problem["msg"].removeprefix("Value error, ")
        return f"{owner}: {name}={shorten(problem['input'])} is not allowed: {allowed[0].lower()}{allowed[1:]}"


def shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def RegisteredName(kind: str, default: str | tuple[str, ...] | None, description: str) -> Any:  # noqa: N802 (used as pydantic's Field is)
    """A field that names something registered, with options after a colon; the registry checks it before any work."""
    return Field(default, description=description, json_schema_extra={"registry": kind})


def ImageParam(kind: Literal["mask", "map"], description: str, *, required: bool = False) -> Any:  # noqa: N802
    """A field that holds a picture: a file on the command line and in pipelines, anything open_image reads in Python.

    An operation gets it in mode L and in the size of the picture that is edited. A recipe does not name it but carries
    it.
    """
    default = ... if required else None
    return Field(default, exclude=True, description=description, json_schema_extra={"image": kind})


Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


def PathParam(default: Any, description: str) -> Any:  # noqa: N802
    """A field that names a folder of this machine, or weights to fetch: a replay never takes these from a file."""
    return Field(default, min_length=1, description=description, json_schema_extra={"path": True})


def field_metadata(field: FieldInfo) -> dict[str, Any]:
    """What a field is besides its type: ``registry``, ``image``, ``path`` or ``argument``."""
    return dict(field.json_schema_extra) if isinstance(field.json_schema_extra, dict) else {}


def image_fields(params: type[Params]) -> dict[str, str]:
    """The names of the fields that hold pictures, and of which kind each is."""
    extras = {name: field_metadata(field) for name, field in params.model_fields.items()}
    return {name: extra["image"] for name, extra in extras.items() if "image" in extra}
