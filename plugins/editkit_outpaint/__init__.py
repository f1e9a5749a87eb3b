"""``outpaint``: extend an image beyond its edges."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from editkit import FROM_MODEL, ImageInputParams, OperationSpec, by_name, hookimpl

Pixels = Annotated[int, Field(ge=0, le=16384)]


class OutpaintParams(ImageInputParams):
    from_model: ClassVar[frozenset[str]] = FROM_MODEL
    left: Pixels = Field(0, description="Pixels to add on the left.")
    right: Pixels = Field(0, description="Pixels to add on the right.")
    top: Pixels = Field(0, description="Pixels to add at the top.")
    bottom: Pixels = Field(0, description="Pixels to add at the bottom.")
    prompt: str = Field("", description="Description of the whole result.")
    resample: int = Field(
        1, ge=1, le=50, description="Times each step is taken (RePaint); more fits the new pixels better to the source."
    )
    resolution: int | None = Field(
        None,
        ge=8,
        le=16384,
        description="Longest side in pixels of the source at the model's scale: more gives finer detail and less "
        "context. When not given, the window covers the whole result up to twice the source.",
    )
    guidance: float = Field(3.0, ge=0.0, le=100.0, description="Guidance scale; 1 evaluates the prompt alone.")


def result_size(params: OutpaintParams, size: tuple[int, int]) -> tuple[int, int]:
    """Size (width, height) of the result."""
    return params.left + size[0] + params.right, params.top + size[1] + params.bottom


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="outpaint",
            summary="Extend an image beyond its edges.",
            usage='handball-top.png --bottom 24 --prompt "gradient person playing handball" -o legs.png',
            load=by_name("editkit_outpaint.operation:outpaint"),
            params=OutpaintParams,
            size=result_size,
            example={"right": 5, "top": 9},
            source="https://arxiv.org/abs/2201.09865",
        )
    ]
