"""``inpaint``: fill the masked region, consistent with its surroundings."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from editkit import FROM_MODEL, EditParams, Fraction, ImageParam, OperationSpec, Paper, by_name, hookimpl


class InpaintParams(EditParams):
    from_model: ClassVar[frozenset[str]] = FROM_MODEL
    mask: Any = ImageParam("mask", "Mask of the image's size: white is replaced, black is kept.", required=True)
    prompt: str = Field("", description="Description of the whole result.")
    strength: Fraction = Field(
        1.0, description="Noise level to start from: 1 discards the masked content, less keeps some of it."
    )
    resample: int = Field(
        1,
        ge=1,
        le=50,
        description="Times each step is taken (RePaint); more fits the new content better to the kept pixels.",
    )
    context: float | None = Field(
        None,
        ge=0.0,
        le=100.0,
        description="Margin processed around the mask, as a share of the mask's size; 0 for the whole image. When not "
        "given, 0.5 or more for a mask that is small at the model's scale, else 0.",
    )
    guidance: float = Field(3.0, ge=0.0, le=100.0, description="Guidance scale; 1 evaluates the prompt alone.")


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="inpaint",
            summary="Fill the masked region of an image, consistent with its surroundings.",
            usage='torn-heart.png --mask torn-heart-mask.png --prompt "gradient red heart" -o heart.png',
            load=by_name("editkit_inpaint.operation:inpaint"),
            params=InpaintParams,
            source="https://arxiv.org/abs/2201.09865",
            paper=Paper(
                "RePaint: Inpainting using Denoising Diffusion Probabilistic Models",
                "Andreas Lugmayr and Martin Danelljan and Andres Romero and Fisher Yu and Radu Timofte and Luc Van "
                "Gool",
                2022,
            ),
        )
    ]
