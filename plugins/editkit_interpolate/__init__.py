"""``interpolate``: pictures between two pictures."""

from __future__ import annotations

from pydantic import Field

from editkit import ImageInputParams, OperationSpec, RegisteredName, by_name, hookimpl


class InterpolateParams(ImageInputParams):
    frames: int = Field(5, ge=2, le=240, description="Pictures in all, the two given ones included.")
    source: str = Field("", description="Prompt of the first picture.")
    target: str = Field("", description="Prompt of the second picture.")
    inverter: str = RegisteredName("inverters", "pinned", "Inverter by name, with options after a colon.")


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="interpolate",
            summary="Draw pictures between two pictures, on the arc between their noises.",
            load=by_name("editkit_interpolate.operation:interpolate"),
            params=InterpolateParams,
            takes="two images",
            source="https://arxiv.org/abs/2010.02502",
        )
    ]
