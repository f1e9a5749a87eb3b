"""Several operations in a row, and pictures made again from their recipes."""

from __future__ import annotations

import dataclasses as dc
import os
from collections.abc import Mapping, Sequence
from typing import Any

from . import recipes
from .backends import Backend
from .edits import apply, check, checked_params, resolve, run
from .errors import BadFile, InvalidParameter
from .inversion import Inversion
from .params import shorten
from .recipes import DrawnBy, Step
from .registry import installed
from .report import Report
from .results import Result
from .session import Progress

Model = Backend | str | os.PathLike[str] | None
"""A loaded model, what ``load_model`` loads, or the usual one."""


@dc.dataclass(frozen=True)
class Pipeline:
    """A list of ``(operation, parameters)``, each applied to what the one before it gave.

    Unknown operations and parameters are refused when the pipeline is made.
    """

    steps: Sequence[tuple[str, Mapping[str, Any]]]

    def __post_init__(self) -> None:
        if not self.steps:
            raise InvalidParameter("a pipeline needs at least one step")
        registry = installed()
        for operation, params in self.steps:
            spec = registry.spec("operations", operation)
            if spec.takes != "image" or spec.gives != "image":
                raise InvalidParameter(f"{operation} cannot be a step: a pipeline goes from one picture to one picture")
            checked_params(registry, spec, dict(params))

    @classmethod
    def from_yaml(cls, text: str) -> Pipeline:
        """Read ``steps:``, a list of one-entry mappings ``operation: {parameter: value}``; raises BadFile."""
        import yaml

        try:
            content = yaml.safe_load(text)
            steps = content["steps"] if isinstance(content, dict) else content
            pairs = [
                next(iter(step.items())) if isinstance(step, dict) and len(step) == 1 else (step, {}) for step in steps
            ]
            named = [
                (str(name), {str(k).replace("-", "_"): v for k, v in (params or {}).items()}) for name, params in pairs
            ]
        except (yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise BadFile(
                f"the pipeline cannot be read ({reason}): write steps: [{{operation: {{parameter: value}}}}]"
            ) from None
        return cls(named)

    def __call__(
        self,
        image: Any,
        *,
        model: Model | Sequence[Model] = None,
        seed: int | None = None,
        progress: Progress | None = None,
        cache: bool = True,
    ) -> Result:
        """Run all steps; ``seed`` goes to every step that names none of its own.

        ``model`` draws all steps, or is a list of one for each; where none is given a step takes what is usual for its
        operation. Raises InvalidParameter where the list is of another length.
        """
        operations = [operation for operation, _ in self.steps]
        models = zip(operations, one_each(model, operations), strict=True)
        backends = [resolve(one, None, None, operation=operation) for operation, one in models]
        made: list[Result] = []
        for (operation, params), backend in zip(self.steps, backends, strict=True):
            seeded = {"seed": seed, **params} if seed is not None else dict(params)
            made.append(apply(operation, image, model=backend, progress=progress, cache=cache, **seeded))
            image = made[-1].image
        return joined(made)


def one_each(model: Model | Sequence[Model], operations: Sequence[str]) -> Sequence[Model]:
    """A model for each operation; raises InvalidParameter where several are given, and not as many."""
    if isinstance(model, str) or not isinstance(model, Sequence):
        return [model] * len(operations)
    if len(model) != len(operations):
        raise InvalidParameter(
            f"model: {len(model)} are given for {len(operations)} steps ({', '.join(operations)}): give one for all "
            "steps, or one for each"
        )
    return model


def joined(results: Sequence[Result]) -> Result:
    """One result of several steps: the last picture, and one report and recipe over all of them."""
    if len(results) == 1:
        return results[0]
    first, final = results[0], results[-1]
    attachments = {name: image for name, image in first.attachments.items() if name.startswith("source")}
    for index, result in enumerate(results):
        for name in result.recipe.steps[0].pictures:
            attachments[recipes.picture_name(name, index)] = result.attachments[recipes.picture_name(name, 0)]
    steps = tuple(result.recipe.steps[0] for result in results)
    recipe = first.recipe.model_copy(update={"steps": steps})
    reports = [result.report for result in results]
    return dc.replace(final, report=summed(reports), recipe=recipe, attachments=attachments, sources=first.sources)


def summed(reports: Sequence[Report]) -> Report:
    return dc.replace(
        reports[-1],
        operation="run",
        model=", ".join(dict.fromkeys(report.model for report in reports)),
        adapters=tuple(dict.fromkeys(adapter for report in reports for adapter in report.adapters)),
        network_calls=sum(report.network_calls for report in reports),
        network_samples=sum(report.network_samples for report in reports),
        seconds=round(sum(report.seconds for report in reports), 4),
        peak_memory_mb=max(report.peak_memory_mb for report in reports),
        input_size=reports[0].input_size,
        untouched_max_diff=None,
        params={"steps": [{report.operation: report.params} for report in reports]},
        warnings=tuple(dict.fromkeys(warning for report in reports for warning in report.warnings)),
    )


def replay(
    picture: str | os.PathLike[str] | bytes,
    *,
    model: Model | Sequence[Model] = None,
    adapters: Sequence[str | os.PathLike[str]] = (),
    progress: Progress | None = None,
    cache: bool = True,
    **params: Any,
) -> Result:
    """Make a picture again from the recipe in its file; the same machine and model give the same pixels.

    Without ``model`` the recipe's models are used where they are registered names; a folder, hub id or adapter is never
    taken from a file. One ``model`` stands for all of the recipe, a list for one of each step. ``params`` take the
    place of those in the recipe, in all steps that have them. Raises BadFile where there is no recipe, InvalidParameter
    where a model, its adapters or a folder must be given.
    """
    recipe, pictures = recipes.read(picture)
    if not recipe.steps or installed().spec("operations", recipe.steps[-1].operation).gives != "image":
        raise BadFile("the picture's recipe is damaged: it makes no picture")
    steps = [step.model_copy(update={"params": overridden(step, params)}) for step in recipe.steps]
    models = one_each(model, [step.operation for step in steps])
    backends = [model_of(step.drawn_by, one, adapters) for step, one in zip(steps, models, strict=True)]
    sources = [pictures[recipes.source_name(index)] for index in range(recipe.sources)]
    image: Any = sources if len(sources) > 1 else sources[0] if sources else None
    made: list[Result] = []
    registry = installed()
    for index, (step, backend) in enumerate(zip(steps, backends, strict=True)):
        carried = {name: pictures[recipes.picture_name(name, index)] for name in step.pictures}
        request = check(registry, step.operation, image, step.params | carried)
        outcome = run(registry, request, backend, progress, cache)
        if isinstance(outcome, Inversion):
            image = outcome
        else:
            made.append(outcome)
            image = outcome.image
    final = joined(made)
    others = dict.fromkeys(
        f"made with another model ({was.model}, {was.identity}) than {backend.name}: the pixels may differ"
        for was, backend in zip((step.drawn_by for step in steps), backends, strict=True)
        if backend.identity != was.identity
    )
    final.report = dc.replace(final.report, warnings=(*final.report.warnings, *others))
    return final


def overridden(step: Step, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a step's parameters, replaced by those in ``given``; raises InvalidParameter for a path from the file.

    The image parameters of a genuine recipe are stored beside it. One among ``step.params`` is a path that somebody
    wrote into the file, so it is refused as a folder is.
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


def model_of(was: DrawnBy, model: Model, adapters: Sequence[str | os.PathLike[str]]) -> Backend:
    """The model to draw a step of a recipe with: the one that is given, else the one that drew it."""
    if not (model is None or isinstance(model, (str, os.PathLike))):
        return resolve(model, None, None, adapters)
    if model is None and was.model not in installed().specs["models"]:
        raise InvalidParameter(
            f"the recipe was made with the model {was.model!r}; no path is taken from a file: pass it as model"
        )
    if was.adapters and not adapters:
        raise InvalidParameter(
            f"the recipe was made with the adapters {', '.join(was.adapters)}; no path is taken from a file: pass "
            "them as adapters"
        )
    return resolve(model or was.model, None, was.dtype, adapters)
