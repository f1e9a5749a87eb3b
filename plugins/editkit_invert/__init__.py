"""``invert`` and ``reconstruct``: an image to noise, stored in a file, and back."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from editkit import DrawingParams, ImageInputParams, OperationSpec, RegisteredName, by_name, hookimpl


class InvertParams(ImageInputParams):
    """Parameters of ``invert``; those of guidance and sampler are not used, but stored for the replay."""

    from_model: ClassVar[frozenset[str]] = frozenset()  # its steps decide the accuracy of the inversion
    prompt: str = Field("", description="Description of the image.")
    method: str = RegisteredName("inverters", "pinned", "Inverter by name, with options after a colon.")
    steps: int = Field(50, ge=1, le=1000, description="Steps from image to noise.")


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="invert",
            summary="Recover the noise from which an image would be sampled.",
            usage='red-apple.png --prompt "noto red apple" -o apple.safetensors',
            load=by_name("editkit_invert.operation:invert"),
            params=InvertParams,
            gives="inversion",
            source="https://arxiv.org/abs/2010.02502",
        ),
        OperationSpec(
            name="reconstruct",
            summary="Sample an inverted image again from its noise.",
            usage="apple.safetensors -o again.png",
            load=by_name("editkit_invert.operation:reconstruct"),
            params=DrawingParams,
            takes="inversion",
            source="https://arxiv.org/abs/2310.01506",
        ),
    ]
