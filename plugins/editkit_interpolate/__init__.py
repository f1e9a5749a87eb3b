"""``interpolate``: images between two images."""

from __future__ import annotations

from pydantic import Field

from editkit import ImageInputParams, OperationSpec, RegisteredName, by_name, hookimpl


class InterpolateParams(ImageInputParams):
    frames: int = Field(5, ge=2, le=240, description="Number of frames, the two sources included.")
    source: str = Field("", description="Prompt of the first image.")
    target: str = Field("", description="Prompt of the second image.")
    inverter: str = RegisteredName("inverters", "pinned", "Inverter by name, with options after a colon.")


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="interpolate",
            summary="Generate images between two images, on the arc between their noises.",
            usage="red-apple.png tomato.png --frames 5 -o strip.png",
            load=by_name("editkit_interpolate.operation:interpolate"),
            params=InterpolateParams,
            takes="two images",
            source="https://arxiv.org/abs/2010.02502",
        )
    ]
