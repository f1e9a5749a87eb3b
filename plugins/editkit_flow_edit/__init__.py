"""``flow-edit`` and ``uni-edit``: edit an image by the difference of two predictions, under two prompts.

``flow-edit`` takes them on shared noise and inverts nothing. ``uni-edit`` inverts a part of the path and weights the
difference at each place by how large it is there.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from editkit import (
    EffectIf,
    Fraction,
    IfGuided,
    OperationSpec,
    Paper,
    RegisteredName,
    RepromptParams,
    by_name,
    hookimpl,
)

_PAPER = "https://arxiv.org/abs/2412.08629"


class FlowEditParams(RepromptParams):
    strength: float = Field(
        1.0, ge=0.0, le=1.0, description="Share of the path that is used, from its clean end; 0 keeps the image."
    )
    guidance: float = Field(1.0, ge=0.0, le=100.0, description="Guidance scale; 1 evaluates the prompt alone.")
    averages: int = Field(1, ge=1, le=64, description="Noise samples over which the edit of each step is averaged.")
    source_guidance: float | None = Field(
        None,
        ge=0.0,
        le=100.0,
        description="Guidance scale of the source prompt; that of the target prompt when not given.",
    )
    terminal: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="Weight of the pull of the estimated result towards the source in each step (FlowAlign: 0.01).",
    )
    negative_prompt: Annotated[str, IfGuided] = Field(
        "",
        description="Content to steer away from; the source prompt if neither this nor source_guidance is given.",
    )

    @property
    def is_guided(self) -> bool:
        return super().is_guided or self.source_guidance not in (None, 1)

    @model_validator(mode="before")
    @classmethod
    def default_to_source_prompt(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Override: with a scale for each prompt, guidance steers away from the empty prompt, as in the paper."""
        one_scale = values.get("source_guidance") is None and "source" in values
        return {"negative_prompt": values["source"], **values} if one_scale else values


_NotAgainst = EffectIf(lambda params, model: False, "uni-edit guides against the source prompt")


class UniEditParams(RepromptParams):
    from_model: ClassVar[frozenset[str]] = frozenset({"gate"})  # the others are those of the paper
    steps: int = Field(15, ge=1, le=1000, description="Steps of a whole path, from noise to image.")
    strength: Fraction = Field(
        0.6, description="Share of the path that is inverted and sampled, from its clean end; 0 keeps the image."
    )
    guidance: float = Field(
        5.0,
        gt=0.0,
        le=100.0,
        description="Guidance scale against the source prompt where the prompts differ least; where they differ most "
        "it is one more than twice as large.",
    )
    inverter: str = RegisteredName("inverters", "ddim-corrected", "Inverter by name, with options after a colon.")
    negative_prompt: Annotated[str, _NotAgainst] = Field("", description="Without effect: it is the source prompt.")
    negative_guidance: Annotated[float, _NotAgainst] = Field(
        1.0, ge=0.0, le=100.0, description="Without effect: the source prompt is the negative one."
    )

    @property
    def is_guided(self) -> bool:
        return True


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="flow-edit",
            summary="Edit an image from a source prompt to a target prompt without inverting it.",
            usage='red-apple.png --source "noto red apple" --target "noto green apple" -o green.png',
            load=by_name("editkit_flow_edit.operation:flow_edit"),
            params=FlowEditParams,
            needs=frozenset({"text"}),
            source=_PAPER,
            paper=Paper(
                "FlowEdit: Inversion-Free Text-Based Editing Using Pre-Trained Flow Models",
                "Vladimir Kulikov and Matan Kleiner and Inbar Huberman-Spiegelglas and Tomer Michaeli",
                2024,
            ),
        ),
        OperationSpec(
            name="uni-edit",
            summary="Invert a part of the path and edit most where the two prompts differ most.",
            usage='red-apple.png --source "noto red apple" --target "noto green apple" -o green.png',
            load=by_name("editkit_flow_edit.uni_edit:uni_edit"),
            params=UniEditParams,
            needs=frozenset({"text"}),
            source="https://arxiv.org/abs/2504.13109",
            paper=Paper(
                "UniEdit-Flow: Unleashing Inversion and Editing in the Era of Flow Models",
                "Guanlong Jiao and Biqing Huang and Kuan-Chieh Wang and Renjie Liao",
                2025,
            ),
        ),
    ]
