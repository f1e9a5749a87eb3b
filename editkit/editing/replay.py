"""Make an image again from the recipe in its file."""

from __future__ import annotations

import dataclasses as dc
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import BadFile, InvalidParameter
from ..inversion.inversion import Inversion
from ..model.backend import Backend
from ..model.loading import resolve_model
from ..registry.params import shorten
from ..registry.registry import installed
from ..sampling.progress import Progress
from .apply import execute
from .pipeline import Model, join_results, model_per_step
from .recipe import ModelReference, Step, image_name, read_recipe, source_name
from .request import prepare
from .result import Result


def replay(
    file: str | os.PathLike[str] | bytes,
    *,
    model: Model | Sequence[Model] = None,
    adapters: Sequence[str | os.PathLike[str]] = (),
    progress: Progress | None = None,
    cache: bool = True,
    **params: Any,
) -> Result:
    """Make an image again from the recipe in its file; the same machine and model give the same pixels.

    Without ``model`` the recipe's models are used if they are registered names; a path, hub id or adapter is never
    taken from a file. One ``model`` replaces all models of the recipe, a list has one for each step. ``params`` replace
    those of the recipe in every step that has them. Raises BadFile if there is no recipe, InvalidParameter if a model,
    its adapters or a path must be given.
    """
    recipe, images = read_recipe(file)
    if not recipe.steps or installed().spec("operations", recipe.steps[-1].operation).gives != "image":
        raise BadFile("the recipe is damaged: it makes no image")
    steps = [step.model_copy(update={"params": override_params(step, params)}) for step in recipe.steps]
    models = model_per_step(model, [step.operation for step in steps])
    backends = [model_for_step(step.drawn_by, one, adapters) for step, one in zip(steps, models, strict=True)]
    sources = [images[source_name(index)] for index in range(recipe.sources)]
    image: Any = sources if len(sources) > 1 else sources[0] if sources else None
    results: list[Result] = []
    registry = installed()
    for index, (step, backend) in enumerate(zip(steps, backends, strict=True)):
        stored = {name: images[image_name(name, index)] for name in step.pictures}
        request = prepare(registry, step.operation, image, step.params | stored)
        outcome = execute(registry, request, backend, progress=progress, cache=cache)
        if isinstance(outcome, Inversion):
            image = outcome
        else:
            results.append(outcome)
            image = outcome.image
    final = join_results(results)
    warnings = dict.fromkeys(
        f"made with another model ({step.drawn_by.model}, {step.drawn_by.identity}) than {backend.name}: the pixels "
        "may differ"
        for step, backend in zip(steps, backends, strict=True)
        if backend.identity != step.drawn_by.identity
    )
    final.report = dc.replace(final.report, warnings=(*final.report.warnings, *warnings))
    return final


def override_params(step: Step, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a step's parameters, replaced by those in ``given``; raises InvalidParameter for a path from the file.

    editkit stores the images of a recipe beside it, so an image parameter among ``step.params`` is a path that somebody
    else wrote into the file.
    """
    registry = installed()
    fields = registry.spec("operations", step.operation).params.model_fields
    for name, value in step.params.items():
        if name in fields and name not in given and registry.names_path(name, fields[name], value):
            raise InvalidParameter(
                f"the recipe of {step.operation} names {name}={shorten(value)}; no path is taken from a file: "
                f"pass {name}= to editkit.replay"
            )
    return step.params | {name: value for name, value in given.items() if name in fields}


def model_for_step(recorded: ModelReference, model: Model, adapters: Sequence[str | os.PathLike[str]]) -> Backend:
    """Load the given model, else the recorded one; raises InvalidParameter if a path or an adapter must be given."""
    if not (model is None or isinstance(model, (str, os.PathLike))):
        return resolve_model(model, None, None, adapters)
    if model is None and recorded.model not in installed().specs["models"]:
        raise InvalidParameter(
            f"the recipe was made with the model {recorded.model!r}; no path is taken from a file: pass it as model"
        )
    if recorded.adapters and not adapters:
        raise InvalidParameter(
            f"the recipe was made with the adapters {', '.join(recorded.adapters)}; no path is taken from a file: pass "
            "them as adapters"
        )
    return resolve_model(model or recorded.model, None, recorded.dtype, adapters)
