"""Parameter declarations shared by operations."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from ..registry.params import ImageParam
from ..sampling.params import DEFAULT_STEPS, SamplingParams


class ImageInputParams(SamplingParams):
    """What every operation that looks at pictures can be told."""

    resolution: int | None = Field(
        None, ge=8, le=16384, description="Longest side in pixels the model works at; the model's own when not given."
    )


class EditParams(ImageInputParams):
    """What every operation that changes a picture can be told."""

    mask: Any = ImageParam("mask", "Picture of the image's size: white is changed, black is kept bit for bit.")
    feather: float = Field(
        0.0, ge=0.0, le=4096.0, description="Width in pixels over which the mask's edge fades inward."
    )


class RepromptParams(EditParams):
    """What every operation that carries a picture from one prompt to another can be told."""

    source: str = Field(description="Prompt that says what the picture shows.")
    target: str = Field(description="Prompt that says what it should show.")
    negative_prompt: str = Field("", description="What guidance leads away from; the source prompt when not given.")

    @model_validator(mode="before")
    @classmethod
    def lead_away_from_the_source(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Guidance then enlarges the edit alone and cancels on the source branch (Miyake et al., arXiv 2305.16807)."""
        return {"negative_prompt": values["source"], **values} if "source" in values else values


def ModelDefaultSteps() -> Any:  # noqa: N802
    """A field of steps that are the model's usual ones when not given; see :meth:`editkit.Session.usual_steps`."""
    return Field(
        None,
        ge=1,
        le=1000,
        description="Network steps from noise to picture; when not given what is usual for the model, or "
        f"{DEFAULT_STEPS}.",
    )


class CanvasParams(SamplingParams):
    """What every operation that starts from an empty canvas can be told."""

    width: int | None = Field(None, ge=1, le=16384, description="Pixels; the model's own size when not given.")
    height: int | None = Field(None, ge=1, le=16384, description="Pixels; the model's own size when not given.")
