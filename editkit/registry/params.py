"""Typed parameters: one declaration gives validation, command-line options, recipes and report rows."""

from __future__ import annotations

import reprlib
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ..errors import InvalidParameter, did_you_mean


class Params(BaseModel):
    """Base class of all parameter declarations: frozen, without unknown names, NaN or infinity."""

    # Validators are built at the first validation, since a list of commands needs none.
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, strict=True, validate_default=True, defer_build=True
    )

    @classmethod
    def parse(cls, owner: str, values: dict[str, Any]) -> Self:
        """Check ``values`` and return them typed; ``owner`` names the operation or plugin in error messages.

        Raises InvalidParameter, naming the first parameter that is wrong, its value and the allowed values.
        """
        images = image_fields(cls)  # ``None`` means "not given", also for required images
        try:
            return cls(**{name: value for name, value in values.items() if value is not None or name not in images})
        except ValidationError as error:
            raise InvalidParameter(cls._explain(owner, error.errors()[0])) from None

    @classmethod
    def _explain(cls, owner: str, problem: ErrorDetails) -> str:
        name = ".".join(str(part) for part in problem["loc"]) or "parameters"
        if problem["type"] == "extra_forbidden":
            return f"{owner} has no parameter {name!r}; {did_you_mean(name, cls.model_fields)}"
        if problem["type"] == "missing":
            return f"{owner} needs the parameter {name!r}: {cls.model_fields[name].description}"
        allowed = problem["msg"].removeprefix("Value error, ")
        return f"{owner}: {name}={shorten(problem['input'])} is not allowed: {allowed[0].lower()}{allowed[1:]}"


def shorten(value: Any) -> str:
    """Return the ``repr`` of a value in at most 60 characters, for messages; the whole of a large one is not built."""
    text = _BoundedRepr().repr(value)
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


def RegisteredName(kind: str, default: str | tuple[str, ...] | None, description: str) -> Any:  # noqa: N802 (used as pydantic's Field is)
    """Field that holds the name of a registered ``kind``, with options after a colon; checked before any work."""
    return Field(default, description=description, json_schema_extra={"registry": kind})


def ImageParam(kind: Literal["mask", "map"], description: str, *, required: bool = False) -> Any:  # noqa: N802
    """Field that holds an image: a file on the command line and in pipelines, any source of open_image in Python.

    An operation gets it in mode L and in the size of the edited image. A recipe does not name its file; the PNG carries
    the image itself.
    """
    default = ... if required else None
    return Field(default, exclude=True, description=description, json_schema_extra={"image": kind})


Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


def PathParam(default: Any, description: str) -> Any:  # noqa: N802
    """Field that names a folder on this machine, or weights to download; a replay takes neither from a file."""
    return Field(default, min_length=1, description=description, json_schema_extra={"path": True})


def field_metadata(field: FieldInfo) -> dict[str, Any]:
    """Metadata of a field besides its type: ``registry``, ``image``, ``path`` or ``argument``."""
    return dict(field.json_schema_extra) if isinstance(field.json_schema_extra, dict) else {}


def image_fields(params: type[Params]) -> dict[str, str]:
    """Names of the fields that hold images, each with its kind: ``mask`` or ``map``."""
    metadata = {name: field_metadata(field) for name, field in params.model_fields.items()}
    return {name: extra["image"] for name, extra in metadata.items() if "image" in extra}
