"""Parameter declarations of sampling."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..literals import Spacing
from ..registry.params import Fraction, Params, RegisteredName


class DrawingParams(Params):
    """Parameters of every operation that samples."""

    guidance: float = Field(1.0, ge=0.0, le=100.0, description="Guidance scale; 1 evaluates the prompt alone.")
    guidance_rescale: Fraction = Field(0.0, description="Strength of guidance rescaling, 0 to 1 (arXiv 2305.08891).")
    guidance_start: Fraction = Field(0.0, description="Fraction of the path before which guidance is off.")
    guidance_end: Fraction = Field(1.0, description="Fraction of the path after which guidance is off.")
    sampler: str = RegisteredName("samplers", "ddim", "Sampler by name, with options after a colon: ddim:eta=0.5.")
    seed: int | None = Field(
        None, ge=0, lt=2**63, description="Seed of the noise; chosen at random and reported when not given."
    )
    negative_prompt: str = Field("", description="Content to steer away from.")
    attach: Annotated[tuple[str, ...], Field(strict=False)] = RegisteredName(
        "controls", (), "Further controls of sampling by name, with options after a colon."
    )


DEFAULT_STEPS = 25
"""Number of steps if neither the user nor the model specifies one."""


class SamplingParams(DrawingParams):
    """Parameters of every operation that chooses its own path."""

    steps: int = Field(
        DEFAULT_STEPS, ge=1, le=1000, description="Number of steps of a whole path, from noise to image."
    )
    spacing: Spacing | None = Field(None, description="Spacing of the timesteps; the model's own when not given.")
