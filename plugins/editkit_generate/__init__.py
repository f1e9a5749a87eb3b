"""``generate``: sample an image from noise."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from editkit import FROM_MODEL, CanvasParams, OperationSpec, Paper, by_name, hookimpl


class GenerateParams(CanvasParams):
    from_model: ClassVar[frozenset[str]] = FROM_MODEL
    prompt: str = Field("", description="Description of the image.")
    guidance: float = Field(3.0, ge=0.0, le=100.0, description="Guidance scale; 1 evaluates the prompt alone.")


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="generate",
            summary="Generate an image from noise, following a prompt if the model takes text.",
            usage='--prompt "flat red heart" --seed 0-3 -o hearts/',
            load=by_name("editkit_generate.operation:generate"),
            params=GenerateParams,
            takes="nothing",
            source="https://arxiv.org/abs/2006.11239",
            paper=Paper(
                "Denoising Diffusion Probabilistic Models",
                "Jonathan Ho and Ajay Jain and Pieter Abbeel",
                2020,
            ),
        )
    ]
