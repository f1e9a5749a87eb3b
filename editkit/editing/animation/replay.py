"""Make an animation again from the recipe in its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import InvalidParameter
from ...images.animation.frames import Animation
from ...images.animation.reading import open_animation
from ...model.backend import Backend
from ...registry.registry import installed
from ...sampling.progress import Progress
from ..recipe import AnimationRecipe, ImageReference, frames_digest
from .apply import BATCH
from .in_a_row import execute_steps_on_animation
from .request import AnimationRequest, prepare_animation
from .result import AnimationResult


def prepare_replay(recipe: AnimationRecipe, params: Mapping[str, Any], source: Any) -> AnimationRequest:
    """Prepare the first step with the source; raises InvalidParameter for another animation than the recipe's."""
    source = source[0] if isinstance(source, (list, tuple)) and len(source) == 1 else source
    animation = open_animation(source, argument="source")
    _check_source(recipe, animation)
    return prepare_animation(installed(), recipe.steps[0].operation, animation, params)


def _check_source(recipe: AnimationRecipe, animation: Animation) -> None:
    if len(animation) != recipe.frames:
        raise InvalidParameter(
            f"source is another animation than the recipe's: it has {len(animation)} frames, and the result was made "
            f"from {recipe.frames}: pass the original, or a lossless copy of it"
        )
    first = ImageReference.of(animation.frames[0])
    if first not in recipe.sources or recipe.sha256 not in (None, frames_digest(animation.frames)):
        raise InvalidParameter(
            "source is another animation than the recipe's: its frames have other pixels; pass the original, or a "
            "lossless copy of it"
        )


def replay_animation(
    recipe: AnimationRecipe,
    first: AnimationRequest,
    later: Sequence[tuple[str, Mapping[str, Any]]],
    models: Sequence[Backend],
    *,
    progress: Progress | None,
    cache: bool,
) -> AnimationResult:
    """Execute the steps of a recipe, operations and parameters, as they were executed."""
    how: dict[str, Any] = {"anchor": recipe.anchor, "batch": recipe.batch or BATCH}
    return execute_steps_on_animation(first, later, models, **how, progress=progress, cache=cache)
