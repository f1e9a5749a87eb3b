"""Parameter declarations of sampling."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..literals import Spacing
from ..registry.params import Fraction, Params, RegisteredName


class DrawingParams(Params):
    """How a path is walked down: what every operation that draws can be told."""

    guidance: float = Field(1.0, ge=0.0, le=100.0, description="Guidance scale; 1 runs without the empty prompt.")
    guidance_rescale: Fraction = Field(
        0.0, description="Share of the deviation that guidance added which is taken back (arXiv 2305.08891)."
    )
    guidance_start: Fraction = Field(0.0, description="Fraction of the path before which guidance is off.")
    guidance_end: Fraction = Field(1.0, description="Fraction of the path after which guidance is off.")
    sampler: str = RegisteredName("samplers", "ddim", "Sampler by name, with options after a colon: ddim:eta=0.5.")
    seed: int | None = Field(None, ge=0, lt=2**63, description="Seed of the noise; drawn and reported when not given.")
    negative_prompt: str = Field("", description="What guidance leads away from.")
    attach: Annotated[tuple[str, ...], Field(strict=False)] = RegisteredName(
        "controls", (), "Further controls of the drawing by name, with options after a colon."
    )


DEFAULT_STEPS = 25
"""Network steps where neither the user nor, for operations that ask it, the model says how many."""


class SamplingParams(DrawingParams):
    """What every operation that chooses its own path can be told."""

    steps: int = Field(
        DEFAULT_STEPS, ge=1, le=1000, description="Network steps of a whole path, from noise to picture."
    )
    spacing: Spacing | None = Field(None, description="How the timesteps are laid out; the model's own when not given.")
