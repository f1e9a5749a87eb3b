"""The command ``replay``: make an image again from the recipe in its file."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import EditkitError, InvalidParameter
from ..registry.params import SEVERAL, image_fields
from ..registry.registry import installed
from .errors import Command
from .jobs import Inputs, Invocation, Job, read_if_stdin
from .many.edit_options import cache_option, output_option, report_option, sheet_option
from .many.inputs import RECIPE_HELP, Input
from .many.param_files import files_of
from .model_options import adapter_option, given_loading_options, loading_options, model_option
from .options import CompletedText, parameters_of
from .outputs.options import output_options
from .outputs.plan import STREAM
from .previews import preview_option, progress
from .running import Execute, one_by_one, run_jobs

if TYPE_CHECKING:
    from ..editing.recipe import Recipe


def replay_command() -> Command:
    """Return the ``replay`` command."""
    source = (
        "Original image or animation; twice for an operation on two images. Needed unless FILE embeds it, and verified."
    )
    change = (
        "Change a parameter: seed=5, or 2.seed=5 in the second step alone; mask=FILE gives a mask, needed unless FILE "
        "embeds it, and reference=FILE a reference, once for each. May be repeated."
    )
    return Command(
        "replay",
        example="editkit replay tomato.png --source red-apple.png --set seed=5 -o again.png",
        settings="own",
        params=[
            click.Argument(["file"], metavar="FILE", type=CompletedText()),
            click.Option(["--source"], metavar="IMAGE", type=CompletedText(), multiple=True, help=source),
            click.Option(["--set", "settings"], metavar="NAME=VALUE", multiple=True, help=change),
            output_option("replay"),
            *output_options(),
            model_option(),
            adapter_option(),
            *loading_options(),
            report_option(),
            sheet_option(),
            preview_option(),
            cache_option(),
        ],
        callback=lambda **options: _replay(options),
        help=f"Make an image or an animation again from the recipe in its file.\n\n{RECIPE_HELP}",
    )


def _replay(options: Mapping[str, Any]) -> None:
    """Read the recipe in a file, load its models, and make the image again."""
    from ..editing.recipe import AnimationRecipe, read_recipe

    settings: dict[str, list[str]] = {}
    for name, value in map(_split_setting, options["settings"]):
        settings.setdefault(name, []).append(value)
    texts = [*itertools.chain(*settings.values())]
    others = [*options["source"], *texts, *(set(_files_in(settings)) - {STREAM})]  # texts has standard input
    file = options["file"]
    animated = _animated(file)
    invocation = Invocation.plan(
        options, "replay", Inputs([Input(file)], animated=animated), _suffixes_of_result(file), others
    )
    sources = [read_if_stdin(name, "source") for name in options["source"]]

    def start() -> Execute:
        from ..editing.replay import replay

        given = {"source": sources or None, "model": options["model"], "adapters": options["adapter"]}
        given |= given_loading_options(options)
        given |= {"progress": progress(invocation.preview), "cache": options["cache"]}
        return one_by_one(lambda job: replay(job[0], set=job[1], **given))

    def check(job: Job) -> tuple[str | bytes, dict[str, Any]]:
        recipe, _ = read_recipe(job.source)
        if isinstance(recipe, AnimationRecipe) and not animated:
            raise InvalidParameter("the recipe is that of an animation: give its file, not standard input")
        return job.source, _parse_settings(recipe, settings)

    run_jobs(invocation, check, start)


def _files_in(settings: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the files among the options of registered names in the values of ``--set``."""
    for key, texts in settings.items():
        name = key.rpartition(".")[2]
        calls = [call for text in texts for call in _calls_in(text)]
        for spec in installed().specs["operations"].values():
            yield from files_of(installed(), spec.params, {name: calls})


def _calls_in(text: str) -> Sequence[str]:
    """Return the names in a text that is one, or a JSON list of them."""
    with contextlib.suppress(ValueError):
        listed = json.loads(text) if text.startswith("[") else None
        if isinstance(listed, list):
            return [one for one in listed if isinstance(one, str)]
    return [text]


def _animated(file: str) -> dict[str, str]:
    """Return the file with the suffix of its format if it holds the recipe of an animation."""
    from ..editing.recipe import AnimationRecipe, read_recipe
    from ..images.animation.reading import animation_suffix

    suffix = animation_suffix(file) or ".png"  # equal frames are a still image
    with contextlib.suppress(EditkitError):  # a file that cannot be read is reported with the others
        if file != STREAM and isinstance(read_recipe(file)[0], AnimationRecipe):
            return {file: suffix}
    return {}


def _suffixes_of_result(file: str) -> Sequence[str]:
    """Return the suffixes that a replay may have; of frames between two images that of their file is the first."""
    from ..editing.recipe import read_recipe
    from ..images.writing import FRAMES_SUFFIXES, IMAGE_SUFFIXES

    with contextlib.suppress(EditkitError, IndexError):  # see _animated
        last = None if file == STREAM else read_recipe(file)[0].steps[-1].operation
        if last is not None and installed().spec("operations", last).takes == "two images":
            own = Path(file).suffix.lower()
            first = [own] if own in FRAMES_SUFFIXES else []
            return tuple(dict.fromkeys([*first, *IMAGE_SUFFIXES, *FRAMES_SUFFIXES]))
    return IMAGE_SUFFIXES


def _split_setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise click.UsageError(f"--set {text!r} is not allowed: write NAME=VALUE, as in seed=5")
    return name.strip().replace("-", "_"), value


def _parse_settings(recipe: Recipe, settings: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the values of ``--set`` as the options of the operations read them; unknown names are left as text.

    Raises UsageError for several values of one parameter, unless it is one of several images.
    """
    values: dict[str, Any] = {}
    for key, (text, *more) in settings.items():
        name = key.rpartition(".")[2]
        spec = next((spec for spec in _operations_of(recipe) if name in spec.params.model_fields), None)
        if spec is not None and image_fields(spec.params).get(name) == SEVERAL:
            values[key] = [read_if_stdin(file, name) for file in (text, *more)]
        elif more:
            raise click.UsageError(f"--set names {name} twice: give it once")
        elif spec is None:
            values[key] = text
        elif name in image_fields(spec.params):
            values[key] = read_if_stdin(text, name)
        else:
            values[key] = _convert(next(p for p in parameters_of(spec.params, installed()) if p.name == name), text)
    return values


def _operations_of(recipe: Recipe) -> Iterator[Any]:
    return (installed().spec("operations", step.operation) for step in recipe.steps)


def _convert(param: click.Parameter, text: str) -> Any:
    """Return the text of a value as an option reads it; a list of names may be empty, a name, or a JSON list."""
    if param.multiple:
        return tuple(json.loads(text)) if text.startswith("[") else tuple(filter(None, [text]))
    try:
        return param.type.convert(text, None, None)
    except click.BadParameter as error:
        raise InvalidParameter(f"--set {param.name}: {error.message}") from None
