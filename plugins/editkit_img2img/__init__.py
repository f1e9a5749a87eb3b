"""``img2img``: noise a picture to a strength and draw it again."""

from __future__ import annotations

from pydantic import Field

from editkit import EditParams, OperationSpec, by_name, hookimpl


class Img2ImgParams(EditParams):
    prompt: str = Field("", description="What the picture should show.")
    strength: float = Field(0.6, ge=0.0, le=1.0, description="0 keeps the picture, 1 draws a new one.")
    guidance: float = Field(3.0, ge=0.0, le=100.0, description="Guidance scale; 1 runs without the empty prompt.")


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="img2img",
            summary="Noise a picture to a strength and draw it again with a prompt.",
            load=by_name("editkit_img2img.operation:img2img"),
            params=Img2ImgParams,
            source="https://arxiv.org/abs/2108.01073",
        )
    ]
