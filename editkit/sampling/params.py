"""Parameter declarations of sampling."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self, TypeVar

from pydantic import Field, model_validator

from ..literals import Spacing
from ..registry.params import EffectIf, Fraction, NameList, Params, RegisteredName

IfGuided = EffectIf(
    lambda params, model: params.is_guided, "guidance is 1, which evaluates the prompt alone; give another guidance"
)
"""Condition of the parameters of guidance by a negative prompt."""

IfPrompted = EffectIf(lambda params, model: "text" in model.provides, "the model takes no text to guide by")
"""Condition of all parameters of guidance."""

IfDistilled = EffectIf(
    lambda params, model: "distilled-guidance" in model.provides,
    "guidance of this model is away from the negative prompt; set guidance",
)
"""Condition of guidance beside a scale that is an input of the network."""


FROM_MODEL = frozenset({"guidance", "sampler", "steps"})
"""Parameters that operations which only sample leave to the model. Edits by inversion leave ``steps`` alone: their
guidance has other reasons, and they step by the sampler that inverts."""


class DrawingParams(Params):
    """Parameters of every operation that samples."""

    from_model: ClassVar[frozenset[str]] = frozenset()
    """Parameters whose default is the usual value of the model, where its family or its spec has one."""

    guidance: float = Field(1.0, ge=0.0, le=100.0, description="Guidance scale; 1 evaluates the prompt alone.")
    guidance_rescale: Annotated[Fraction, IfPrompted, IfGuided] = Field(
        0.0, description="Strength of guidance rescaling, 0 to 1 (arXiv 2305.08891)."
    )
    guidance_start: Annotated[Fraction, IfPrompted, IfGuided] = Field(
        0.0, description="Fraction of the path before which guidance is off."
    )
    guidance_end: Annotated[Fraction, IfPrompted, IfGuided] = Field(
        1.0, description="Fraction of the path after which guidance is off."
    )
    sampler: str = RegisteredName("samplers", "ddim", "Sampler by name, with options after a colon: ddim:eta=0.5.")
    seed: int | None = Field(
        None, ge=0, lt=2**63, description="Seed of the noise; chosen at random and reported when not given."
    )
    negative_prompt: Annotated[str, IfGuided] = Field("", description="Content to steer away from.")
    negative_guidance: Annotated[float, IfDistilled] = Field(
        1.0,
        ge=0.0,
        le=100.0,
        description="Guidance scale away from the negative prompt, for models whose guidance is an input of the "
        "network (FLUX.1's true_cfg_scale); 1 evaluates no negative prompt.",
    )
    long_prompts: bool = Field(
        False,
        description="Read prompts beyond the limit of the text encoder too, in chunks; for models whose text encoders "
        "are CLIP.",
    )
    attach: NameList = RegisteredName(
        "controls", (), "Further controls of sampling by name, with options after a colon."
    )

    @property
    def controls(self) -> tuple[str, ...]:
        """Controls to attach; an operation may add to those of ``attach``."""
        return tuple(self.attach)

    @property
    def is_guided(self) -> bool:
        """Whether an estimate is guided; operations with further guidance scales override it."""
        return self.guidance != 1 or self.negative_guidance != 1

    def is_default(self, name: str) -> bool:
        """Return whether a parameter has its default; the negative prompt of an edit may be its source prompt."""
        return super().is_default(name) or (
            name == "negative_prompt" and self.negative_prompt == getattr(self, "source", "")
        )

    @model_validator(mode="after")
    def check_guidance_interval(self) -> Self:
        return check_interval(self, "guidance_start", "guidance_end")


SEED_WITHOUT_NOISE = "seed has no effect where an edit draws no noise; sampler ddim:eta=0.5 draws some"
"""End of a warning about an image that is the same under another seed."""

ParamsT = TypeVar("ParamsT", bound=Params)


def check_interval(params: ParamsT, start: str, end: str) -> ParamsT:
    """Return the parameters; raises ValueError if the fraction ``start`` of a path lies behind the fraction ``end``."""
    low, high = getattr(params, start), getattr(params, end)
    if low > high:
        raise ValueError(f"{start} must be at most {end}, not {low:g} and {high:g}")
    return params


DEFAULT_STEPS = 25
"""Number of steps if neither the user nor the model specifies one."""


class SamplingParams(DrawingParams):
    """Parameters of every operation that chooses its own path."""

    from_model: ClassVar[frozenset[str]] = frozenset({"steps"})

    steps: int = Field(
        DEFAULT_STEPS, ge=1, le=1000, description="Number of steps of a whole path, from noise to image."
    )
    spacing: Spacing | None = Field(None, description="Spacing of the timesteps; the model's own when not given.")
