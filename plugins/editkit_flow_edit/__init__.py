"""``flow-edit``: carry a picture from one prompt to another by the difference of both predictions on shared noise."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from editkit import OperationSpec, RepromptParams, by_name, hookimpl

PAPER = "https://arxiv.org/abs/2412.08629"


class FlowEditParams(RepromptParams):
    strength: float = Field(
        1.0, ge=0.0, le=1.0, description="Share of the path that is used, from its clean end; 0 keeps the picture."
    )
    guidance: float = Field(1.0, ge=0.0, le=100.0, description="Guidance scale; 1 runs without the negative prompt.")
    averages: int = Field(1, ge=1, le=64, description="Noises that the edit of each step is averaged over.")
    source_guidance: float | None = Field(
        None, ge=0.0, le=100.0, description="Guidance scale of the source prompt, where it has one of its own."
    )
    negative_prompt: str = Field(
        "",
        description="What guidance leads away from; the source prompt when neither this nor source_guidance is given.",
    )

    @model_validator(mode="before")
    @classmethod
    def lead_away_from_the_source(cls, values: dict[str, Any]) -> dict[str, Any]:
        """As in every such edit; the paper of this one guides each prompt by its own scale, away from the empty one."""
        alike = values.get("source_guidance") is None and "source" in values
        return {"negative_prompt": values["source"], **values} if alike else values


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="flow-edit",
            summary="Carry a picture from a source prompt to a target prompt without inverting it.",
            load=by_name("editkit_flow_edit.operation:flow_edit"),
            params=FlowEditParams,
            needs=frozenset({"text"}),
            source=PAPER,
        )
    ]
