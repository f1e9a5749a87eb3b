"""``upscale``: a picture 2 or 4 times larger, with what the model adds to it, tile by tile."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from editkit import ImageInputParams, ModelDefaultSteps, OperationSpec, by_name, hookimpl


class UpscaleParams(ImageInputParams):
    scale: Literal[2, 4] = Field(2, description="Times wider and higher the result is.")
    prompt: str = Field("", description="What the picture shows.")
    steps: int | None = ModelDefaultSteps()  # type: ignore[assignment]
    strength: float | None = Field(
        None,
        ge=0.0,
        le=1.0,
        description="Share of the path that is drawn: 0 adds nothing to the enlarged picture. When not given all of it "
        "with a model made for upscaling; with any other what is usual for it, or 0.3.",
    )
    noise_level: int = Field(
        20, ge=0, description="Timesteps of noise in what a model made for upscaling sees: more makes it freer."
    )
    resolution: int | None = Field(
        None, ge=8, le=16384, description="Side of the tiles in pixels; the model's own size when not given."
    )


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="upscale",
            summary="Enlarge a picture 2 or 4 times; averaged down again, the result is the picture.",
            load=by_name("editkit_upscale.operation:upscale"),
            params=UpscaleParams,
            size=lambda params, size: (params.scale * size[0], params.scale * size[1]),
            source="https://arxiv.org/abs/2112.10752",
        )
    ]
