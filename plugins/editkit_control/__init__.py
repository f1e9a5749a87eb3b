"""``control``: draw under condition maps, such as the edges or the depth of a picture."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from editkit import (
    ControlSpec,
    EditParams,
    Fraction,
    ImageParam,
    OperationSpec,
    Params,
    PathParam,
    RegisteredName,
    by_name,
    hookimpl,
)


class ControlNetParams(Params):
    """A ControlNet and its condition map."""

    kind: str = RegisteredName("annotators", "edge", "Annotator that makes the condition map of the picture.")
    scale: float = Field(1.0, ge=0.0, le=10.0, description="How strongly the map is followed.")
    start: Fraction = Field(0.0, description="Fraction of the path before which the map is not followed.")
    end: Fraction = Field(1.0, description="Fraction of the path after which the map is not followed.")
    weights: str | None = PathParam(
        None, "Folder of the ControlNet; the one registered for the model and the kind when not given."
    )


class ControlParams(EditParams):
    kind: str = RegisteredName(
        "annotators", "edge", "Annotator that makes the condition map, with options after a colon."
    )
    prompt: str = Field("", description="What to draw.")
    strength: Fraction = Field(1.0, description="1 draws from noise, less from the noised picture.")
    control_scale: float = Field(1.0, ge=0.0, le=10.0, description="How strongly the map is followed.")
    control_start: Fraction = Field(0.0, description="Fraction of the path before which the map is not followed.")
    control_end: Fraction = Field(1.0, description="Fraction of the path after which the map is not followed.")
    control_image: Any = ImageParam(
        "map", "Ready-made condition map, in place of the annotator's: near and edges white."
    )
    control_invert: bool = Field(False, description="The ready-made map is black where it should be white.")
    controlnet: str | None = PathParam(
        None, "Folder of the ControlNet; the one registered for the model and the kind when not given."
    )
    guidance: float = Field(3.0, ge=0.0, le=100.0, description="Guidance scale; 1 runs without the empty prompt.")


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="control",
            summary="Draw under a condition map of a picture: its edges, its depth.",
            load=by_name("editkit_control.operation:control"),
            params=ControlParams,
            needs=frozenset({"controlnet"}),
            source="https://arxiv.org/abs/2302.05543",
        )
    ]


@hookimpl
def register_controls() -> list[ControlSpec]:
    return [
        ControlSpec(
            name="controlnet",
            summary="A condition map of the picture is followed.",
            load=by_name("editkit_control.controlnet:controlnet"),
            params=ControlNetParams,
            source="https://arxiv.org/abs/2302.05543",
        )
    ]
