"""The command ``show``: the recipe in a file, or the settings of an inversion."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ...errors import BadFile
from ...inversion.settings import is_inversion
from ...registry.params import is_default
from ...registry.registry import installed
from ..errors import Command
from ..jobs import read_if_stdin
from ..many.inputs import RECIPE_HELP
from ..options import CompletedText
from ..outputs.plan import OutputPlan, ResultName, stem_of
from ..outputs.printing import print_bytes
from ..outputs.writing import output_place

if TYPE_CHECKING:
    from ...editing.recipe import ModelReference, Recipe, Step


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
        f"{RECIPE_HELP} Of an inversion (.safetensors) its settings are printed.",
    )


def _show(file: str, as_json: bool, extract: str | None) -> None:
    from ...editing.recipe import read_recipe

    if extract is not None:
        _extract(file, extract)
        return
    content = read_if_stdin(file, "recipe")
    if is_inversion(content):
        _show_inversion(content, as_json)
        return
    recipe, images = read_recipe(content)
    if as_json:
        click.echo(_recipe_json(recipe.model_dump(mode="json")))
        return
    for line in [*_describe_recipe(recipe), *_describe_images(recipe, set(images))]:
        click.echo(_printable(line))


def _extract(file: str, folder: str) -> None:
    """Write the images embedded in a file, and print their paths; raises BadFile for a file that holds none."""
    from ...editing.recipe import read_recipe
    from ...images.writing import save_picture

    recipe, images = read_recipe(read_if_stdin(file, "recipe"))
    # Names of parameters come from the file, and no path does.
    named = {name: image for name, image in images.items() if re.fullmatch(r"[a-z0-9_]+-[0-9]+", name)}
    if not named:
        needed = ", ".join(recipe.references()) or "no image"
        raise BadFile(f"recipe {file!r} holds no images: it needs {needed}, which --embed-sources would have embedded")
    plan, stem = OutputPlan(folder, (".png",), "number", into_folder=True), stem_of(file, "show")
    targets = plan.targets([ResultName(file, file_name=f"{stem}-{name}.png") for name in named], "show")
    for target, image in zip(targets, named.values(), strict=True):
        assert target is not None, "the output is a folder"
        with output_place(target, targets, replace=False) as path:
            save_picture(image, path)
        print_bytes(os.fsencode(path) + b"\n")


def _show_inversion(file: str | bytes, as_json: bool) -> None:
    from ...inversion.inversion_file import read_header

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
