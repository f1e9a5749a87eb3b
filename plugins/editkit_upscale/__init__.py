"""``upscale``: an image 2 or 4 times larger, with detail that the model adds tile by tile."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from editkit import FROM_MODEL, EffectIf, ImageInputParams, ModelDefaultSteps, OperationSpec, by_name, hookimpl


class UpscaleParams(ImageInputParams):
    from_model: ClassVar[frozenset[str]] = FROM_MODEL
    scale: Literal[2, 4] = Field(2, description="Factor by which width and height grow.")
    prompt: str = Field("", description="Description of the image.")
    steps: int | None = ModelDefaultSteps()  # type: ignore[assignment]
    strength: float | None = Field(
        None,
        ge=0.0,
        le=1.0,
        description="Share of the path that is sampled: 0 adds no detail. When not given, 1 with an upscaling model; "
        "with any other, the model's default, or 0.3.",
    )
    noise_level: Annotated[
        int,
        EffectIf(
            lambda params, model: "upscaling" in model.provides and params.strength,
            "only an upscaling model that samples has a condition image; leave it out",
        ),
    ] = Field(
        20,
        ge=0,
        description="Timestep of the noise in an upscaling model's condition image: more gives more freedom.",
    )
    resolution: int | None = Field(
        None, ge=8, le=16384, description="Side of the tiles in pixels; the model's native size when not given."
    )


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="upscale",
            summary="Enlarge an image 2 or 4 times; averaged down again, the result is the image.",
            usage='red-hair.png --scale 4 --prompt "noto person light skin tone red hair" -o large.png',
            load=by_name("editkit_upscale.operation:upscale"),
            params=UpscaleParams,
            size=lambda params, size: (params.scale * size[0], params.scale * size[1]),
            source="https://arxiv.org/abs/2112.10752",
        )
    ]
