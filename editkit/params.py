"""Typed parameters: declared once, checked once, and turned into options, recipes and report rows by others."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from .errors import InvalidParameter, did_you_mean


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
        pictures = pictures_of(cls)  # of which None is none, also where one is needed
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


def Registered(kind: str, default: str | tuple[str, ...] | None, description: str) -> Any:  # noqa: N802 (used as pydantic's Field is)
    """A field that names something registered, with options after a colon; the registry checks it before any work."""
    return Field(default, description=description, json_schema_extra={"registry": kind})


def Picture(kind: Literal["mask", "map"], description: str, *, required: bool = False) -> Any:  # noqa: N802
    """A field that holds a picture: a file on the command line and in pipelines, anything open_image reads in Python.

    An operation gets it in mode L and in the size of the picture that is edited. A recipe does not name it but carries
    it.
    """
    default = ... if required else None
    return Field(default, exclude=True, description=description, json_schema_extra={"picture": kind})


Spacing = Literal["leading", "trailing", "linspace", "karras", "distilled"]
"""How the timesteps of a path are laid out; see :mod:`editkit.paths`."""

Prediction = Literal["epsilon", "v_prediction", "sample", "flow_prediction"]
"""What a network gives; see :mod:`editkit.predictions`."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class DrawingParams(Params):
    """How a path is walked down: what every operation that draws can be told."""

    guidance: float = Field(1.0, ge=0.0, le=100.0, description="Guidance scale; 1 runs without the empty prompt.")
    guidance_rescale: Fraction = Field(
        0.0, description="Share of the deviation that guidance added which is taken back (arXiv 2305.08891)."
    )
    guidance_start: Fraction = Field(0.0, description="Fraction of the path before which guidance is off.")
    guidance_end: Fraction = Field(1.0, description="Fraction of the path after which guidance is off.")
    sampler: str = Registered("samplers", "ddim", "Sampler by name, with options after a colon: ddim:eta=0.5.")
    seed: int | None = Field(None, ge=0, lt=2**63, description="Seed of the noise; drawn and reported when not given.")
    negative_prompt: str = Field("", description="What guidance leads away from.")
    attach: Annotated[tuple[str, ...], Field(strict=False)] = Registered(
        "controls", (), "Further controls of the drawing by name, with options after a colon."
    )


DEFAULT_STEPS = 25
"""Network steps where neither the user nor, for operations that ask it, the model says how many."""


class SamplingParams(DrawingParams):
    """What every operation that chooses its own path can be told."""

    steps: int = Field(
        DEFAULT_STEPS, ge=1, le=1000, description="Network steps of a whole path, from noise to picture."
    )
    spacing: Spacing | None = Field(None, description="How the timesteps are laid out; the model's own when not given.")


class PictureParams(SamplingParams):
    """What every operation that looks at pictures can be told."""

    resolution: int | None = Field(
        None, ge=8, le=16384, description="Longest side in pixels the model works at; the model's own when not given."
    )


class EditParams(PictureParams):
    """What every operation that changes a picture can be told."""

    mask: Any = Picture("mask", "Picture of the image's size: white is changed, black is kept bit for bit.")
    feather: float = Field(
        0.0, ge=0.0, le=4096.0, description="Width in pixels over which the mask's edge fades inward."
    )


class RepromptParams(EditParams):
    """What every operation that carries a picture from one prompt to another can be told."""

    source: str = Field(description="Prompt that says what the picture shows.")
    target: str = Field(description="Prompt that says what it should show.")
    negative_prompt: str = Field("", description="What guidance leads away from; the source prompt when not given.")

    @model_validator(mode="before")
    @classmethod
    def lead_away_from_the_source(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Guidance then enlarges the edit alone and cancels on the source branch (Miyake et al., arXiv 2305.16807)."""
        return {"negative_prompt": values["source"], **values} if "source" in values else values


def UsualSteps() -> Any:  # noqa: N802
    """A field of steps that are the model's usual ones when not given; see :meth:`editkit.Session.usual_steps`."""
    return Field(
        None,
        ge=1,
        le=1000,
        description="Network steps from noise to picture; when not given what is usual for the model, or "
        f"{DEFAULT_STEPS}.",
    )


def Folder(default: Any, description: str) -> Any:  # noqa: N802
    """A field that names a folder of this machine, or weights to fetch: a replay never takes these from a file."""
    return Field(default, min_length=1, description=description, json_schema_extra={"folder": True})


def extra_of(field: FieldInfo) -> dict[str, Any]:
    """What a field is besides its type: ``registry``, ``picture``, ``folder`` or ``argument``."""
    return dict(field.json_schema_extra) if isinstance(field.json_schema_extra, dict) else {}


def pictures_of(params: type[Params]) -> dict[str, str]:
    """The names of the fields that hold pictures, and of which kind each is."""
    extras = {name: extra_of(field) for name, field in params.model_fields.items()}
    return {name: extra["picture"] for name, extra in extras.items() if "picture" in extra}


class CanvasParams(SamplingParams):
    """What every operation that starts from an empty canvas can be told."""

    width: int | None = Field(None, ge=1, le=16384, description="Pixels; the model's own size when not given.")
    height: int | None = Field(None, ge=1, le=16384, description="Pixels; the model's own size when not given.")
