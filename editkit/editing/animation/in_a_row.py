"""Several operations in a row on every frame of an animation."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Mapping, Sequence
from typing import Any

from ...model.backend import Backend
from ...report import sum_reports
from ...sampling.progress import Progress
from .apply import execute_animation
from .request import AnimationRequest, prepare_animation
from .result import AnimationResult


def execute_steps_on_animation(
    first: AnimationRequest,
    later: Sequence[tuple[str, Mapping[str, Any]]],
    models: Sequence[Backend],
    *,
    anchor: bool | None,
    batch: int,
    progress: Progress | None = None,
    cache: bool = True,
) -> AnimationResult:
    """Carry out a prepared edit of an animation, and later ones, operations and parameters, each of the one before.

    ``models`` has a model for each step, and the other arguments are those of :func:`apply_to_animation`.
    """
    more: dict[str, Any] = {"anchor": anchor, "batch": batch, "progress": progress, "cache": cache}
    results = [execute_animation(first, models[0], **more)]
    for (operation, params), model in zip(later, models[1:], strict=True):
        request = prepare_animation(first.registry, operation, results[-1].animation, params)
        results.append(execute_animation(request, model, **more))
    return _join(results)


def _join(results: Sequence[AnimationResult]) -> AnimationResult:
    """Return one result of several steps: the last frames, with one report and one recipe of all steps."""
    if len(results) == 1:
        return results[0]
    first, final = results[0], results[-1]
    steps = tuple(result.recipe.steps[0] for result in results)
    whole = dc.replace(
        final,
        source=first.source,
        report=sum_reports([result.report for result in results]),
        recipe=first.recipe.model_copy(update={"steps": steps}),
        untouched=(None,) * len(final.frames),  # every step has a mask of its own
        masks=(),
    )
    whole.measure(whole.frames)
    return whole
