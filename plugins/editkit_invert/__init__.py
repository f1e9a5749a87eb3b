"""``invert`` and ``reconstruct``: a picture to noise, kept in a file, and back."""

from __future__ import annotations

from pydantic import Field

from editkit import DrawingParams, ImageInputParams, OperationSpec, RegisteredName, by_name, hookimpl


class InvertParams(ImageInputParams):
    """The inversion itself is not guided and draws nothing: what it is told of both is kept for its replay."""

    prompt: str = Field("", description="What the picture shows.")
    method: str = RegisteredName("inverters", "pinned", "Inverter by name, with options after a colon.")
    steps: int = Field(50, ge=1, le=1000, description="Network steps from picture to noise.")


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="invert",
            summary="Recover the noise a picture would be drawn from.",
            load=by_name("editkit_invert.operation:invert"),
            params=InvertParams,
            gives="inversion",
            source="https://arxiv.org/abs/2010.02502",
        ),
        OperationSpec(
            name="reconstruct",
            summary="Draw an inverted picture again from its noise.",
            load=by_name("editkit_invert.operation:reconstruct"),
            params=DrawingParams,
            takes="inversion",
            source="https://arxiv.org/abs/2310.01506",
        ),
    ]
