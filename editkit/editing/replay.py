"""Make an image again from the recipe in its file."""

from __future__ import annotations

import dataclasses as dc
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from PIL import Image

from ..errors import BadFile, InvalidParameter
from ..inversion.inversion import Inversion
from ..inversion.settings import is_inversion, load_inversion
from ..literals import ModelPrediction, Quantisation
from ..model.adapters import AdapterCall
from ..model.backend import Backend
from ..model.loading import resolve_model
from ..model.options import LoadingOptions
from ..registry.arguments import MODEL, check_arguments
from ..registry.params import shorten
from ..registry.registry import installed
from ..sampling.params import SEED_WITHOUT_NOISE
from ..sampling.progress import Progress
from .animation.replay import prepare_replay, replay_animation
from .animation.result import AnimationResult, is_shown_by
from .apply import execute
from .many.lock_step import execute_exactly
from .pipeline import Model, join_results, model_per_step
from .recipe import AnimationRecipe, ModelReference, Recipe, Step, read_recipe, source_name
from .replayed_steps import changes_per_step, check_complete, given_images, images_of_step, override_params
from .request import Request, load_sources, prepare
from .results.result import Result
from .validation import validate_params


@check_arguments(model=MODEL.or_each())
def replay(
    file: str | os.PathLike[str] | bytes | Result | AnimationResult,
    *,
    source: Any = None,
    set: Mapping[str, Any] | None = None,  # noqa: A002 (the name of the option)
    model: Model | Sequence[Model] = None,
    adapters: Sequence[AdapterCall] = (),
    prediction: ModelPrediction | None = None,
    variant: str | None = None,
    revision: str | None = None,
    vae: str | os.PathLike[str] | None = None,
    transformer: str | os.PathLike[str] | None = None,
    quantise: Quantisation | None = None,
    accelerate: str | Mapping[str, Any] | None = None,
    clip_skip: int | None = None,
    progress: Progress | None = None,
    cache: bool = True,
    **params: Any,
) -> Any:
    """Make an image again from the recipe in its file; the same machine and model give the same pixels.

    Returns a Result, or an AnimationResult for the recipe of an animation, with the frames of the original edit.
    ``source`` is the original image, a pair of them, or the original animation: it is needed unless the file embeds it,
    and verified by the recipe's digest. Anything :func:`open_image` reads is allowed, and an inversion of the image or
    its file. ``set`` changes parameters:
    ``seed`` in every step that has one, ``2.seed`` in the second step alone; a mask or another image that the file does
    not embed is passed in the same way, to the steps that have one, with a warning if it is not the recipe's.
    ``params`` are further ones.

    Without ``model`` the recipe's models are used if they are registered names; a path, hub id or adapter is never
    taken from a file. One ``model`` replaces all models of the recipe, a list has one for each step. The arguments from
    ``prediction`` to ``clip_skip`` are those of :func:`load_model`, by default the recipe's. Of a JPEG the pixels are
    those before its encoding. Raises BadFile if there is no recipe, InvalidParameter if an image, a model, its adapters
    or a path must be given and for another source than the recipe's, UnknownName for a parameter that no step has.
    """
    recipe, images = _recipe_and_images(file)
    if not (set is None or (isinstance(set, Mapping) and all(isinstance(name, str) for name in set))):
        raise InvalidParameter(f"set={shorten(set)} is not allowed: give a mapping of parameters to values")
    changes = changes_per_step(recipe, params | dict(set or {}))
    steps = [
        step.model_copy(update={"params": override_params(step, change)})
        for step, change in zip(recipe.steps, changes, strict=True)
    ]
    check_complete(recipe, {*images, *given_images(recipe, changes, has_source=source is not None)})
    params_of_steps = [
        step.params | images_of_step(recipe.steps[index], index, images, change)
        for index, (step, change) in enumerate(zip(steps, changes, strict=True))
    ]
    first: Any
    if isinstance(recipe, AnimationRecipe):
        first = prepare_replay(recipe, params_of_steps[0], source)
    else:
        first = _prepare_first(recipe, params_of_steps[0], source, images)
    later = [(step.operation, values) for step, values in zip(steps[1:], params_of_steps[1:], strict=True)]
    for operation, values in later:
        validate_params(installed(), installed().spec("operations", operation), values)
    models = model_per_step(model, [step.operation for step in steps])
    options = LoadingOptions.of(prediction, variant, revision, vae, transformer, quantise, accelerate, clip_skip)
    backends = [_model_for_step(step.drawn_by, one, adapters, options) for step, one in zip(steps, models, strict=True)]
    final: Any
    if isinstance(recipe, AnimationRecipe):
        final = replay_animation(recipe, first, later, backends, progress=progress, cache=cache)
    else:
        results = _execute_steps(steps, params_of_steps, backends, first, progress=progress, cache=cache)
        final = join_results(results)
    noticed = [*_replay_warnings(recipe, final.recipe), *_seed_warnings(recipe, final, file)]
    final.report = dc.replace(final.report, warnings=tuple(dict.fromkeys([*final.report.warnings, *noticed])))
    return final


def _recipe_and_images(
    file: str | os.PathLike[str] | bytes | Result | AnimationResult,
) -> tuple[Recipe, Mapping[str, Image.Image]]:
    """Return the recipe of a file or a result, and the images beside it; raises BadFile for one without an image."""
    if isinstance(file, (Result, AnimationResult)):
        recipe, images = file.recipe, getattr(file, "attachments", {})
    else:
        recipe, images = read_recipe(file)
    if not recipe.steps or installed().spec("operations", recipe.steps[-1].operation).gives != "image":
        raise BadFile("the recipe is damaged: it makes no image")
    return recipe, images


def _prepare_first(
    recipe: Recipe, params: Mapping[str, Any], source: Any, embedded: Mapping[str, Image.Image]
) -> Request:
    """Prepare the first step with the given source, else with the embedded one; both are verified."""
    count = len(recipe.sources)
    if source is None:
        images = [embedded[source_name(index)] for index in range(count)]
    else:
        given = list(source) if isinstance(source, (tuple, list)) else [source]
        images = [load_inversion(one).source if is_inversion(one) else one for one in given]
        if len(images) != count:
            raise InvalidParameter(
                f"source: {len(images)} given, but the recipe of {recipe.steps[0].operation} takes {count or 'none'}"
            )
    registry, operation = installed(), recipe.steps[0].operation
    image = None if not images else images[0] if count == 1 else images
    spec = registry.spec("operations", operation)
    if spec.takes not in ("image", "two images"):
        return prepare(registry, operation, image, params)
    sources = load_sources(spec, image)
    # Before the masks are opened, which must have the size of the source.
    for index, (got, wanted) in enumerate(zip(sources, recipe.sources, strict=True)):
        wanted.check(got, f"source {index + 1}" if count > 1 else "source")
    return prepare(registry, operation, sources if count > 1 else sources[0], params)


def _execute_steps(
    steps: Sequence[Step],
    params_of_steps: Sequence[Mapping[str, Any]],
    backends: Sequence[Backend],
    first: Request,
    *,
    progress: Progress | None,
    cache: bool,
) -> list[Result]:
    """Execute the steps, each after the first with the outcome of the one before."""
    registry = installed()
    ways = [execute_exactly if step.filled else execute for step in steps]
    outcomes = [ways[0](registry, first, backends[0], progress=progress, cache=cache)]
    for step, params, backend, way in zip(steps[1:], params_of_steps[1:], backends[1:], ways[1:], strict=True):
        last = outcomes[-1]
        request = prepare(registry, step.operation, last if isinstance(last, Inversion) else last.image, params)
        outcomes.append(way(registry, request, backend, progress=progress, cache=cache))
    return [outcome for outcome in outcomes if isinstance(outcome, Result)]


def _replay_warnings(recorded: Recipe, repeated: Recipe) -> Iterator[str]:
    """Yield a sentence for each model, image, file and seed by which the result is another than the recipe's."""
    for old, new in zip(recorded.steps, repeated.steps, strict=True):
        if old.drawn_by.identity != new.drawn_by.identity:
            yield f"made with another model ({old.drawn_by}) than {new.drawn_by}: the pixels may differ"
    for old, new in zip(recorded.steps, repeated.steps, strict=True):
        yield from _step_warnings(old, new)


def _step_warnings(old: Step, new: Step) -> Iterator[str]:
    """Yield a sentence for each image, file and seed by which a repeated step differs from that of the recipe."""
    for name in {**old.images, **new.images}:
        image, before = new.images.get(name, "none"), old.images.get(name, "none")
        if image != before:
            yield (
                f"{name} of {old.operation} is another image ({image}) than the recipe's ({before}): the pixels differ"
            )
    known = set((old.files or {}).values())
    for name, digest in (new.files or {}).items():
        if old.files is not None and digest not in known:
            yield f"{name} of {old.operation} is another file than the recipe's: the pixels may differ"
    if old.params.get("seed") is None and new.params.get("seed") is not None:
        yield f"the recipe of {old.operation} has no seed: one was chosen, and the pixels differ"


def _seed_warnings(recipe: Recipe, final: Result | AnimationResult, file: Any) -> Iterator[str]:
    """Yield a sentence if a seed was changed and the pixels are those of the file, or of the earlier result."""
    pairs = zip(recipe.steps, final.recipe.steps, strict=True)
    changed = any(old.params.get("seed") not in (None, new.params.get("seed")) for old, new in pairs)
    if changed and is_shown_by(final, file):
        yield f"the image is that of the file: {SEED_WITHOUT_NOISE}"


def _model_for_step(
    recorded: ModelReference, model: Model, adapters: Sequence[AdapterCall], given: LoadingOptions
) -> Backend:
    """Load the given model, else the recorded one; raises InvalidParameter if a path or an adapter must be given."""
    if not (model is None or isinstance(model, (str, os.PathLike))):
        return resolve_model(model, None, None, adapters, options=given)
    if model is None and recorded.model not in installed().specs["models"]:
        raise InvalidParameter(
            f"the recipe was made with the model {shorten(recorded.model)}; no path is taken from a file: pass it as "
            "model"
        )
    if recorded.adapters and not adapters:
        names = ", ".join(shorten(name)[1:-1] for name in recorded.adapters)
        raise InvalidParameter(
            f"the recipe was made with the adapters {names}; no path is taken from a file: pass them as adapters"
        )
    for name, called in (("vae", "autoencoder"), ("transformer", "network")):
        if name in recorded.options and name not in given.requested:
            raise InvalidParameter(
                f"the recipe was made with the {called} {shorten(recorded.options[name])}; no path is taken from a "
                f"file: pass it as {name}"
            )
    read = {
        name: recorded.options.get(name) for name in ("prediction", "variant", "quantise", "accelerate", "clip_skip")
    }
    options = LoadingOptions.of(**{**read, **given.requested})
    return resolve_model(model or recorded.model, None, recorded.dtype, adapters, options=options)
