"""Several operations in a row."""

from __future__ import annotations

import dataclasses as dc
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import BadFile, InvalidParameter
from ..model.backend import Backend
from ..model.loading import resolve_model
from ..registry.arguments import MODEL, check_arguments
from ..registry.params import shorten
from ..registry.registry import installed
from ..report import SomeReport, sum_reports
from ..sampling.progress import Progress
from .animation.apply import BATCH
from .animation.in_a_row import execute_steps_on_animation
from .animation.request import AnimationRequest, check_batch, prepare_animation
from .animation.result import AnimationResult
from .apply import execute
from .recipe import image_name
from .request import Request, prepare
from .results.result import Result
from .validation import check_recipe_size, validate_params

Model = Backend | str | os.PathLike[str] | None
"""A loaded model, an argument of ``load_model``, or None for the operation's default."""


@dc.dataclass(frozen=True)
class Pipeline:
    """A list of ``(operation, parameters)``, each applied to the result of the one before.

    Raises an EditkitError on construction if an operation or a parameter is wrong.
    """

    steps: Sequence[tuple[str, Mapping[str, Any]]] = dc.field(hash=False)

    def __post_init__(self) -> None:
        if not isinstance(self.steps, Sequence) or not self.steps:
            raise InvalidParameter("a pipeline needs at least one step, in a list of (operation, parameters)")
        for step in self.steps:
            if not isinstance(step, (tuple, list)) or len(step) != 2 or not isinstance(step[1], Mapping):
                raise InvalidParameter(f"the step {shorten(step)} is not allowed: give (operation, parameters)")
        registry, checked = installed(), []
        for operation, params in self.steps:
            spec = registry.spec("operations", operation)
            if spec.takes != "image" or spec.gives != "image":
                raise InvalidParameter(f"{operation} cannot be a step: a pipeline goes from one image to one image")
            checked.append(validate_params(registry, spec, params))
        check_recipe_size("the pipeline", checked)

    @classmethod
    @check_arguments()
    def from_yaml(cls, text: str) -> Pipeline:
        """Read ``steps:``, a list of one-entry mappings ``operation: {parameter: value}``; raises BadFile."""
        content = _parse_yaml(text)
        others = [key for key in content if key != "steps"] if isinstance(content, dict) and "steps" in content else []
        if others:
            raise _bad_form(f"{shorten(others[0])} beside steps has no meaning; models are given with -m")
        steps = content.get("steps") if isinstance(content, dict) else content
        if not isinstance(steps, list):
            raise _bad_form(f"steps is {_kind_of(steps)}, not a list")
        return cls([_named_step(step, number) for number, step in enumerate(steps, 1)])

    @check_arguments(model=MODEL.or_each())
    def __call__(
        self,
        image: Any,
        *,
        model: Model | Sequence[Model] = None,
        seed: int | None = None,
        progress: Progress | None = None,
        cache: bool = True,
    ) -> Result:
        """Run all steps and return one result; ``seed`` is used by every step without a seed of its own.

        ``model`` is used by all steps, or is a list with one for each; without it every step loads the default model of
        its operation. Raises InvalidParameter if the list has another length.
        """
        return self.execute(self.prepare(image, seed=seed), model=model, seed=seed, progress=progress, cache=cache)

    @check_arguments(model=MODEL.or_each())
    def apply_to_animation(
        self,
        animation: Any,
        *,
        model: Model | Sequence[Model] = None,
        seed: int | None = None,
        anchor: bool | None = None,
        batch: int = BATCH,
        progress: Progress | None = None,
        cache: bool = True,
    ) -> AnimationResult:
        """Run all steps on every frame of an animation and return one result.

        ``anchor`` and ``batch`` are those of :func:`apply_to_animation` for every step, the others those of a call.
        """
        check_batch(batch)
        request = self.prepare_animation(animation, seed=seed)
        more: dict[str, Any] = {"anchor": anchor, "batch": batch, "progress": progress, "cache": cache}
        return self.execute_animation(request, model=model, seed=seed, **more)

    def prepare(self, image: Any, *, seed: int | None = None) -> Request:
        """Check the first step with ``image``; every later step takes the result of the step before."""
        operation, params = self.steps[0]
        return prepare(installed(), operation, image, _with_seed(params, seed))

    def execute(
        self,
        request: Request,
        *,
        model: Model | Sequence[Model] = None,
        seed: int | None = None,
        progress: Progress | None = None,
        cache: bool = True,
    ) -> Result:
        """Run all steps, the first with its prepared request."""
        registry, backends = installed(), self._load(model)
        results = [execute(registry, request, backends[0], progress=progress, cache=cache)]
        for (operation, params), backend in zip(self.steps[1:], backends[1:], strict=True):
            request = prepare(registry, operation, results[-1].image, _with_seed(params, seed))
            results.append(execute(registry, request, backend, progress=progress, cache=cache))
        result = join_results(results)
        result.report = self._warned_of_seed(result.report, seed)
        return result

    def prepare_animation(self, animation: Any, *, seed: int | None = None) -> AnimationRequest:
        """Check the first step with an animation; every later step takes the result of the step before."""
        operation, params = self.steps[0]
        return prepare_animation(installed(), operation, animation, _with_seed(params, seed))

    def execute_animation(
        self,
        request: AnimationRequest,
        *,
        model: Model | Sequence[Model] = None,
        seed: int | None = None,
        anchor: bool | None = None,
        batch: int = BATCH,
        progress: Progress | None = None,
        cache: bool = True,
    ) -> AnimationResult:
        """Run all steps on an animation, the first with its prepared request."""
        later = [(operation, _with_seed(params, seed)) for operation, params in self.steps[1:]]
        more: dict[str, Any] = {"anchor": anchor, "batch": batch, "progress": progress, "cache": cache}
        result = execute_steps_on_animation(request, later, self._load(model), **more)
        result.report = self._warned_of_seed(result.report, seed)
        return result

    def _load(self, model: Model | Sequence[Model]) -> list[Backend]:
        """Return the model of each step."""
        operations = [operation for operation, _ in self.steps]
        models = zip(operations, model_per_step(model, operations), strict=True)
        return [resolve_model(one, None, None, operation=operation) for operation, one in models]

    def _warned_of_seed(self, report: SomeReport, seed: int | None) -> SomeReport:
        """Return a report with a warning if no step takes the seed."""
        if seed is None or any(params.get("seed") is None for _, params in self.steps):
            return report
        warning = f"seed={seed} has no effect: every step has a seed of its own"
        return dc.replace(report, warnings=(*report.warnings, warning))


def _parse_yaml(text: str) -> Any:
    """Return the content of a YAML document.

    Aliases are refused, by which a small file could become large, and repeated keys, of which YAML keeps the last.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("aliases are not allowed: write the value again")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [str(key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if len(set(keys)) < len(keys):
                raise yaml.YAMLError(f"{max(keys, key=keys.count)[:60]!r} is given twice: leave one of them out")
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:  # of dates, numbers and nesting too
        raise _bad_form(" ".join(str(error).split())[:200]) from None


def _named_step(step: Any, number: int) -> tuple[str, dict[str, Any]]:
    """Return the operation and the parameters of a step in YAML, where a name alone has no parameters."""
    if isinstance(step, str):
        return step, {}
    if not isinstance(step, dict) or len(step) != 1:
        entries = f" with {len(step)} entries" if isinstance(step, dict) else ""
        raise _bad_form(f"step {number} is {_kind_of(step)}{entries}, not a mapping with one operation")
    ((name, params),) = step.items()
    params = {} if params is None else params
    if not isinstance(params, dict):
        raise _bad_form(f"the parameters of step {number} are {_kind_of(params)}, not a mapping")
    for key in (name, *params):
        if not isinstance(key, str):
            raise _bad_form(f"step {number} has {_kind_of(key)} in place of a name")
    return name, {key.replace("-", "_"): value for key, value in params.items()}


def _kind_of(value: Any) -> str:
    """Return the kind of a value in YAML, for messages."""
    kinds = {"dict": "a mapping", "list": "a list", "str": "text", "int": "a number", "float": "a number"}
    return "nothing" if value is None else kinds.get(type(value).__name__, f"a {type(value).__name__}")


def _bad_form(reason: str) -> BadFile:
    return BadFile(f"the pipeline cannot be read ({reason}): write steps: [{{operation: {{parameter: value}}}}]")


def _with_seed(params: Mapping[str, Any], seed: int | None) -> dict[str, Any]:
    """Return parameters with a seed, unless they have one."""
    return dict(params) if seed is None else {"seed": seed, **params}


def model_per_step(model: Model | Sequence[Model], operations: Sequence[str]) -> Sequence[Model]:
    """Return a model for each operation; raises InvalidParameter for a list of another length."""
    if isinstance(model, str) or not isinstance(model, Sequence):
        return [model] * len(operations)
    if len(model) != len(operations):
        raise InvalidParameter(
            f"model: {len(model)} are given for {len(operations)} steps ({', '.join(operations)}): give one for all "
            "steps, or one for each"
        )
    return model


def join_results(results: Sequence[Result]) -> Result:
    """Return one result of several steps: the last image, with one report and one recipe of all steps."""
    if len(results) == 1:
        return results[0]
    first, final = results[0], results[-1]
    attachments = {name: image for name, image in first.attachments.items() if name.startswith("source")}
    for index, result in enumerate(results):
        for name in result.recipe.steps[0].images:
            attachments[image_name(name, index)] = result.attachments[image_name(name, 0)]
    steps = tuple(result.recipe.steps[0] for result in results)
    recipe = first.recipe.model_copy(update={"steps": steps})
    reports = [result.report for result in results]
    return dc.replace(
        final,
        report=sum_reports(reports),
        recipe=recipe,
        attachments=attachments,
        sources=first.sources,
        mask=None,
        masks_of_controls={},
        untouched=None,  # every step has a mask of its own
    )
