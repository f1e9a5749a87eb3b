"""``instruct``: change a picture as a sentence says."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from editkit import EditParams, ModelDefaultSteps, OperationSpec, RegisteredName, by_name, hookimpl

_INVERSION_OPTIONS = ("auto_mask", "captioner", "inverter", "source", "target")
"""Parameters of the method inversion alone."""


class InstructParams(EditParams):
    instruction: str = Field(description="What to change: make it green.", json_schema_extra={"argument": True})
    method: Literal["ip2p", "inversion"] | None = Field(
        None,
        description="ip2p asks a model made for instructions, inversion goes from one prompt to another; when not "
        "given, ip2p where the model is one and no prompt is given.",
    )
    steps: int | None = ModelDefaultSteps()  # type: ignore[assignment]
    guidance: float | None = Field(  # type: ignore[assignment]
        None,
        ge=0.0,
        le=100.0,
        description="Guidance scale of the text; when not given what is usual for the model, 1 for inversion.",
    )
    image_guidance: float | None = Field(
        None,
        ge=0.0,
        le=100.0,
        description="Guidance scale of the picture, for ip2p alone; when not given what is usual for the model.",
    )
    source: str = Field("", description="What the picture shows, for inversion alone.")
    target: str = Field(
        "", description="What it should show, for inversion alone; read from the instruction when not given."
    )
    captioner: str | None = RegisteredName(
        "captioners", None, "Who says what the picture shows, in place of source; with options after a colon."
    )
    inverter: str = RegisteredName("inverters", "pinned", "Inverter by name, with options after a colon.")
    auto_mask: bool = Field(
        False, description="Change the picture only where the two prompts disagree, for inversion alone."
    )

    @property
    def inversion_options(self) -> list[str]:
        """Parameters of inversion alone that differ from their defaults; a recipe names all of them."""
        return [name for name in _INVERSION_OPTIONS if getattr(self, name) != type(self).model_fields[name].default]

    @model_validator(mode="after")
    def options_fit_the_method(self) -> InstructParams:
        if self.method == "ip2p" and self.inversion_options:
            raise ValueError(f"ip2p has no {self.inversion_options[0]}: leave it out, or take method inversion")
        if self.method == "inversion" and self.image_guidance is not None:
            raise ValueError("inversion has no image_guidance: leave it out, or take method ip2p")
        if self.source and self.captioner:
            raise ValueError("source and captioner both say what the picture shows: give one of them")
        return self


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="instruct",
            summary="Change a picture as a sentence says: make it green.",
            load=by_name("editkit_instruct.operation:instruct"),
            params=InstructParams,
            needs=frozenset({"text"}),
            example={"instruction": "make it green", "source": "a red apple"},
            source="https://arxiv.org/abs/2211.09800",
        )
    ]
