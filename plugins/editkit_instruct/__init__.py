"""``instruct``: change a picture as a sentence says."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from editkit import EditParams, OperationSpec, Registered, hookimpl

if TYPE_CHECKING:
    from editkit import Edit, Session


class InstructParams(EditParams):
    instruction: str = Field(description="What to change: make it green.", json_schema_extra={"argument": True})
    method: Literal["ip2p", "inversion"] | None = Field(
        None, description="ip2p asks a model made for instructions; ip2p where the model is one, when not given."
    )
    guidance: float | None = Field(  # type: ignore[assignment]
        None,
        ge=0.0,
        le=100.0,
        description="Guidance scale of the text; 7.5 for ip2p (2.5 if distilled), 1 for inversion when not given.",
    )
    image_guidance: float | None = Field(
        None, ge=0.0, le=100.0, description="Guidance scale of the picture, for ip2p alone; 1.5 when not given."
    )
    source: str = Field("", description="What the picture shows, for inversion alone.")
    target: str = Field(
        "", description="What it should show, for inversion alone; read from the instruction when not given."
    )
    captioner: str | None = Registered(
        "captioners", None, "Who says what the picture shows, in place of source; with options after a colon."
    )
    inverter: str = Registered("inverters", "pinned", "Inverter by name, with options after a colon.")
    auto_mask: bool = Field(
        False, description="Change the picture only where the two prompts disagree, for inversion alone."
    )

    @model_validator(mode="after")
    def told_what_the_method_has(self) -> InstructParams:
        alien = sorted(self.model_fields_set & {"source", "target", "captioner", "inverter", "auto_mask"})
        if self.method == "ip2p" and alien:
            raise ValueError(f"ip2p has no {alien[0]}: leave it out, or take method inversion")
        if self.method == "inversion" and self.image_guidance is not None:
            raise ValueError("inversion has no image_guidance: leave it out, or take method ip2p")
        if self.source and self.captioner:
            raise ValueError("source and captioner both say what the picture shows: give one of them")
        return self


def load() -> Callable[[Session, InstructParams], Edit]:
    from .instructing import instruct

    return instruct


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="instruct",
            summary="Change a picture as a sentence says: make it green.",
            load=load,
            params=InstructParams,
            needs=frozenset({"text"}),
            example={"instruction": "make it green", "source": "a red apple"},
            source="https://arxiv.org/abs/2211.09800",
        )
    ]
