"""The commands about recipes: ``replay``, ``show`` and ``strip``."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import BadFile, EditkitError, InvalidParameter
from ..inversion.settings import INVERSION_SUFFIXES
from ..registry.params import SEVERAL, image_fields, is_default
from ..registry.registry import installed
from .errors import Command
from .jobs import Execute, Invocation, Job, one_by_one, read_if_stdin
from .many.edit_options import cache_option, output_option, report_option, sheet_option
from .model_options import adapter_option, given_loading_options, loading_options, model_option
from .options import CompletedText, parameters_of
from .outputs import output_place, print_bytes
from .previews import preview_option, progress
from .targets import STREAM, OutputPlan, output_options, stem_of

if TYPE_CHECKING:
    from ..editing.recipe import ModelReference, Recipe, Step

_FILE_HELP = "FILE is an image that editkit saved, or - for standard input."


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
        help=f"Make an image or an animation again from the recipe in its file.\n\n{_FILE_HELP}",
    )


def _replay(options: Mapping[str, Any]) -> None:
    """Read the recipe in a file, load its models, and make the image again."""
    from ..editing.recipe import AnimationRecipe, read_recipe

    settings: dict[str, list[str]] = {}
    for name, value in map(_split_setting, options["settings"]):
        settings.setdefault(name, []).append(value)
    others = [*options["source"], *itertools.chain(*settings.values())]
    file = options["file"]
    animated = _animated(file)
    invocation = Invocation.plan(options, "replay", [file], _suffixes_of_result(file), others, animated=animated)
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

    invocation.run(check, start)


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


def show_command() -> Command:
    """Return the ``show`` command."""
    text = "Print the recipe as one line of JSON."
    extract = (
        "Write the images that FILE holds into this folder: its source and masks, as they were before the edit. Only a "
        "PNG that was saved with --recipe full (or --embed-sources) holds any."
    )
    return Command(
        "show",
        example="editkit show green.png",
        params=[
            click.Argument(["file"], metavar="FILE", type=CompletedText()),
            click.Option(["--json", "as_json"], is_flag=True, help=text),
            click.Option(["--extract"], metavar="FOLDER", type=CompletedText("dir"), help=extract),
        ],
        callback=_show,
        reads_only=True,
        help="Print the recipe in a file: operations, parameters, models, and the images that it needs.\n\n"
        "With --extract, get the original back from a PNG that was saved with --recipe full.\n\n"
        f"{_FILE_HELP} Of an inversion (.safetensors) its settings are printed.",
    )


def _show(file: str, as_json: bool, extract: str | None) -> None:
    from ..editing.recipe import read_recipe

    if extract is not None:
        _extract(file, extract)
        return
    if file.lower().endswith(INVERSION_SUFFIXES):
        _show_inversion(file, as_json)
        return
    recipe, images = read_recipe(read_if_stdin(file, "recipe"))
    if as_json:
        click.echo(_recipe_json(recipe.model_dump(mode="json")))
        return
    for line in [*_describe_recipe(recipe), *_describe_images(recipe, set(images))]:
        click.echo(_printable(line))


def _extract(file: str, folder: str) -> None:
    """Write the images embedded in a file, and print their paths; raises BadFile for a file that holds none."""
    from ..editing.recipe import read_recipe
    from ..images.writing import save_picture

    recipe, images = read_recipe(read_if_stdin(file, "recipe"))
    # Names of parameters come from the file, and no path does.
    named = {name: image for name, image in images.items() if re.fullmatch(r"[a-z0-9_]+-[0-9]+", name)}
    if not named:
        needed = ", ".join(recipe.references()) or "no image"
        raise BadFile(f"recipe {file!r} holds no images: it needs {needed}, which --embed-sources would have embedded")
    plan, stem = OutputPlan(folder, (".png",), "number", into_folder=True), stem_of(file, "show")
    targets = plan.targets([file] * len(named), "show", names=[f"{stem}-{name}.png" for name in named])
    for target, image in zip(targets, named.values(), strict=True):
        assert target is not None, "the output is a folder"
        with output_place(target, targets, replace=False) as path:
            save_picture(image, path)
        print_bytes(os.fsencode(path) + b"\n")


def _show_inversion(file: str, as_json: bool) -> None:
    from ..inversion.inversion_file import read_header

    header = read_header(file)
    if as_json:
        click.echo(_recipe_json(header))
        return
    for name in ("method", "model", "identity", "prompt"):
        click.echo(_printable(f"{name}: {header.get(name)}"))
    params = header.get("params")
    for name, value in (params if isinstance(params, dict) else {}).items():
        click.echo(_printable(f"    {name}: {_value_text(value)}"))
    click.echo("holds the source image, pixel for pixel, and its latents: whoever has the file has the image")


def _recipe_json(content: Any) -> str:
    """Return one line of JSON in ASCII, which no terminal takes for a command."""
    return json.dumps(content)


def _printable(text: str) -> str:
    """Return text of a file with its control characters escaped, which a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _describe_recipe(recipe: Recipe) -> Iterator[str]:
    yield f"recipe of editkit {recipe.version}; parameters with their default are left out"
    for number, step in enumerate(recipe.steps, 1):
        yield f"step {number}: {step.operation}, {_model_text(step.drawn_by)}"
        yield from (f"    {name}: {_value_text(value)}" for name, value in step.params.items() if _matters(step, name))
        yield from (
            f"    {name}: {text if len(text) <= 200 else text[:200] + '...'}"
            for name, text in step.specifications.items()
        )


def _model_text(model: ModelReference) -> str:
    added = f" with {', '.join(model.adapters)}" if model.adapters else ""
    options = "".join(f", {name} {value}" for name, value in model.options.items())
    return f"model {model.model}{added}, {model.dtype}{options}, identity {model.identity}"


def _matters(step: Step, name: str) -> bool:
    """Whether a parameter has another value than its default."""
    spec = installed().specs["operations"].get(step.operation)
    field = None if spec is None else spec.params.model_fields.get(name)
    return field is None or not is_default(field, step.params[name])


def _value_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _describe_images(recipe: Recipe, embedded: set[str]) -> Iterator[str]:
    for name, reference in recipe.references().items():
        place = "in the file" if name in embedded else "not in the file"
        yield f"{name}: {reference}, {place}"


def strip_command() -> Command:
    """Return the ``strip`` command."""
    text = "Output: a file, or - for standard output.  [default: NAME-strip next to the input, numbered if that exists]"
    return Command(
        "strip",
        example="editkit strip green.png -o plain.png",
        params=[
            click.Argument(["file"], metavar="FILE", type=CompletedText()),
            click.Option(["-o", "--output"], metavar="PATH", type=CompletedText(), help=text),
            click.Option(["--in-place"], is_flag=True, help="Replace FILE itself."),
        ],
        callback=lambda **options: _strip(options),
        help="Write a file without its recipe and the images embedded beside it. Pixels are not encoded again.\n\n"
        f"{_FILE_HELP}",
    )


def _strip(options: Mapping[str, Any]) -> None:
    from ..files.writing import check_output, write_atomically
    from ..images.recipes.stripping import strip_recipe

    file, output, in_place = options["file"], options["output"], options["in_place"]
    if in_place and (output is not None or file == STREAM):
        raise click.UsageError("--in-place replaces FILE: leave -o out, and give a file")
    if file.lower().endswith(INVERSION_SUFFIXES):
        raise InvalidParameter(f"{file!r} is an inversion, which cannot do without its settings: nothing was removed")
    suffixes = _suffixes_of(file, output)
    if in_place:
        check_output(file)
    plan = dc.replace(OutputPlan.of(options, suffixes), remedy="give --in-place in its stead")
    target = Path(file) if in_place else plan.targets([file], "strip")[0]
    data = strip_recipe(read_if_stdin(file, "file"))
    if target is None:
        print_bytes(data)
        return
    own = contextlib.nullcontext(target)
    with own if in_place else output_place(target, replace=plan.replaces([file], [""])) as path:
        write_atomically(path, data)
    print_bytes(os.fsencode(path) + b"\n")


def _suffixes_of(file: str, output: str | None) -> Sequence[str]:
    """Return the suffix of a file, which its copy has too."""
    suffix = Path(output if file == STREAM and output else file).suffix
    return (suffix.lower(),) if suffix else (".png",)
