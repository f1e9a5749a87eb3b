"""``instruct``: edit an image by an instruction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from editkit import (
    AutoMaskParams,
    FrameParams,
    GatedParams,
    ModelDefaultSteps,
    OperationSpec,
    Paper,
    ReferenceParams,
    RegisteredName,
    by_name,
    hookimpl,
)

_INVERSION_OPTIONS = ("captioner", "inverter", "source", "target")
"""Parameters that only the method inversion has."""


class InstructParams(GatedParams, FrameParams, ReferenceParams, AutoMaskParams):
    from_model: ClassVar[frozenset[str]] = frozenset({"gate"})  # it chooses the others by its method
    follows: ClassVar[Mapping[str, frozenset[str]]] = {
        "source": frozenset({"captioner"}),
        "target": frozenset({"instruction", "source", "captioner"}),
    }
    instruction: str = Field(
        description="Change to make, for example: make it green.", json_schema_extra={"argument": True}
    )
    method: Literal["ip2p", "inversion"] | None = Field(
        None,
        description="ip2p uses a model that takes instructions, inversion edits from a source prompt to a target "
        "prompt. If not given, ip2p for such a model without prompts, else inversion.",
    )
    steps: int | None = ModelDefaultSteps()  # type: ignore[assignment]
    guidance: float | None = Field(  # type: ignore[assignment]
        None,
        ge=0.0,
        le=100.0,
        description="Guidance scale of the text; when not given, the model's default, or 1 for inversion.",
    )
    image_guidance: float | None = Field(
        None,
        ge=0.0,
        le=100.0,
        description="Guidance scale of the image, for ip2p only; the model's default when not given.",
    )
    source: str = Field("", description="Description of the image, for inversion only.")
    target: str = Field(
        "", description="Description of the result, for inversion only; derived from the instruction when not given."
    )
    captioner: str | None = RegisteredName(
        "captioners", None, "Captioner that describes the image, instead of source; with options after a colon."
    )
    inverter: str = RegisteredName("inverters", "pinned", "Inverter by name, with options after a colon.")

    @property
    def inversion_options(self) -> list[str]:
        """Parameters of inversion that differ from their defaults; a recipe sets all of them explicitly."""
        return [name for name in _INVERSION_OPTIONS if getattr(self, name) != type(self).model_fields[name].default]

    @property
    def source_prompt(self) -> str:
        """Prompt that describes the image."""
        return self.source

    @property
    def is_guided(self) -> bool:
        return super().is_guided or self.image_guidance not in (None, 1)

    @field_validator("instruction")
    @classmethod
    def check_instruction(cls, instruction: str) -> str:
        if not instruction.strip():
            raise ValueError("an empty instruction asks for no change; write one, such as: make it green")
        return instruction

    @model_validator(mode="after")
    def check_method_options(self) -> InstructParams:
        if self.method == "ip2p" and self.inversion_options:
            raise ValueError(f"ip2p has no {self.inversion_options[0]}: leave it out, or use method inversion")
        if self.method == "inversion" and self.image_guidance is not None:
            raise ValueError("inversion has no image_guidance: leave it out, or use method ip2p")
        if self.method == "inversion" and not (isinstance(self.reference, (list, tuple)) and not self.reference):
            raise ValueError("inversion has no reference: leave it out, or use method ip2p")
        if self.source and self.captioner:
            raise ValueError("source and captioner both describe the image: give one of them")
        return self


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="instruct",
            summary="Edit an image by an instruction: make it green.",
            usage='red-apple.png "make it green" -o green.png',
            load=by_name("editkit_instruct.operation:instruct"),
            params=InstructParams,
            needs=frozenset({"text"}),
            example={"instruction": "make it green", "source": "a red apple"},
            source="https://arxiv.org/abs/2211.09800",
            paper=Paper(
                "InstructPix2Pix: Learning to Follow Image Editing Instructions",
                "Tim Brooks and Aleksander Holynski and Alexei A. Efros",
                2022,
            ),
        )
    ]
