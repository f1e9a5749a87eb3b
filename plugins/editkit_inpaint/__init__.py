"""``inpaint``: draw what a mask marks anew, to fit what it leaves."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from editkit import EditParams, Fraction, ImageParam, OperationSpec, by_name, hookimpl


class InpaintParams(EditParams):
    mask: Any = ImageParam("mask", "Picture of the image's size: white is drawn anew, black is kept.", required=True)
    prompt: str = Field("", description="What the whole picture should show.")
    strength: Fraction = Field(1.0, description="1 forgets what was under the mask, less keeps some of it.")
    resample: int = Field(
        1, ge=1, le=50, description="Times each step is taken, so that what is drawn fits better to what is kept."
    )
    context: float | None = Field(
        None,
        ge=0.0,
        le=100.0,
        description="Share of the mask's size around it that is worked on; the whole picture when not given.",
    )
    guidance: float = Field(3.0, ge=0.0, le=100.0, description="Guidance scale; 1 runs without the empty prompt.")


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="inpaint",
            summary="Draw what a mask marks anew, to fit what it leaves.",
            load=by_name("editkit_inpaint.operation:inpaint"),
            params=InpaintParams,
            source="https://arxiv.org/abs/2201.09865",
        )
    ]
