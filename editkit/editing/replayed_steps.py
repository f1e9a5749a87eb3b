"""Parameters and images of the steps of a recipe that is replayed, and what of them must be given."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from PIL import Image

from ..errors import EditkitError, InvalidParameter, UnknownName, did_you_mean
from ..images.image_params import StoredImageParam, parameter_of
from ..images.masks.painted import PaintedMask
from ..registry.params import SEVERAL, image_fields, shorten
from ..registry.paths import names_path
from ..registry.registry import Registry, installed
from .recipe import Recipe, Step, image_name, source_name


def given_images(recipe: Recipe, changes: Sequence[Mapping[str, Any]], *, has_source: bool) -> Iterator[str]:
    """Yield the names of a recipe's images that the call gives, or by which a segmenter finds them again."""
    for index, (step, change) in enumerate(zip(recipe.steps, changes, strict=True)):
        for name in step.images:
            if parameter_of(name) in change or is_found_again(step, name, change):
                yield image_name(name, index)
    if has_source:
        yield from (source_name(index) for index in range(len(recipe.sources)))


def changes_per_step(recipe: Recipe, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the changed parameters of each step: ``name`` is for every step that has it, ``2.name`` for the second.

    Raises UnknownName for a parameter that no step has, with the closest name.
    """
    registry = installed()
    fields = [registry.spec("operations", step.operation).params.model_fields for step in recipe.steps]
    changes: list[dict[str, Any]] = [{} for _ in recipe.steps]
    # The general ones first, so that those of one step win.
    for key, value in sorted(settings.items(), key=lambda item: "." in item[0]):
        number, dot, name = key.rpartition(".")
        name = name.replace("-", "_")
        indices = range(len(fields))
        if dot:
            if not (number.isascii() and number.isdigit() and 1 <= int(number[:9]) <= len(fields)):
                raise UnknownName(f"{key!r} names no step: the recipe has the steps 1 to {len(fields)}, as in '1.seed'")
            indices = range(int(number) - 1, int(number))
        having = [index for index in indices if name in fields[index]]
        # A file goes where the recipe has one, so that a mask or a control of one step acts on no other.
        having = [index for index in having if _has_file(registry, recipe.steps[index], name)] or having
        if not having:
            operations = ", ".join(recipe.steps[index].operation for index in indices)
            all_names = {field for index in indices for field in fields[index]}
            raise UnknownName(f"{operations} has no parameter {name!r}; {did_you_mean(name, all_names)}")
        for index in having:
            changes[index][name] = value
    return changes


def _has_file(registry: Registry, step: Step, name: str) -> bool:
    """Return whether a parameter of a step is an image, or a value with a path, which a replay takes from no file."""
    if name in map(parameter_of, step.images):
        return True
    field = registry.spec("operations", step.operation).params.model_fields[name]
    try:
        return names_path(registry, name, field, step.params.get(name))
    except EditkitError:  # a name that is not registered, in place of which another one is given
        return True


def override_params(step: Step, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a step's parameters with changes; raises InvalidParameter for a path from the file.

    editkit stores no path of an image in a recipe, so an image parameter among ``step.params`` is a path that somebody
    else wrote into the file. A value that followed from another one, as a negative prompt from the source prompt,
    follows the change.
    """
    registry = installed()
    spec = registry.spec("operations", step.operation)
    fields = spec.params.model_fields
    for name, value in step.params.items():
        if name in fields and name not in changes and names_path(registry, name, fields[name], value):
            raise InvalidParameter(
                f"the recipe of {step.operation} names {name}={shorten(value)}; no path is taken from a file: "
                f"pass {name}= to editkit.replay"
            )
    kept = step.set_params(spec.params)
    for name, origins in spec.params.follows.items():
        if name not in (step.explicit or ()) and origins & changes.keys():
            kept.pop(name, None)
    if changes and kept.get("negative_prompt") == kept.get("source"):
        kept.pop("negative_prompt", None)
    return kept | {name: value for name, value in changes.items() if name not in image_fields(spec.params)}


def images_of_step(
    step: Step, index: int, embedded: Mapping[str, Image.Image], changes: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the image parameters of a step: the given ones, else those that the file embeds."""
    declared = image_fields(installed().spec("operations", step.operation).params)
    values: dict[str, Any] = {name: value for name, value in changes.items() if name in declared}
    inverted = step.params.get("invert_mask") is True
    values |= {name: text for name, text in step.specifications.items() if is_found_again(step, name, changes)}
    for recorded in [recorded for recorded in step.images if parameter_of(recorded) not in values]:
        name = parameter_of(recorded)
        if declared.get(name) == "mask" and "mask_from" in changes:
            raise InvalidParameter(
                f"mask_from={shorten(changes['mask_from'])} changes nothing: the file embeds the mask as it was read; "
                f"pass {name}= too"
            )
        image = StoredImageParam(embedded[image_name(recorded, index)], inverted=inverted)
        values[name] = [*values.get(name, ()), image] if declared.get(name) == SEVERAL else image
    return values


def is_found_again(step: Step, name: str, changes: Mapping[str, Any]) -> bool:
    """Return whether a replay gets a mask of a step by its strokes, or by its words or points and a segmenter."""
    specification = step.specifications.get(name)
    if specification is None or name in changes:
        return False
    return "segmenter" in changes or PaintedMask.parse(specification) is not None


def check_complete(recipe: Recipe, available: Container[str]) -> None:
    """Raise InvalidParameter that lists the images which a recipe needs and nobody gave, by size and digest."""
    wanted = [
        f"source{f' {i + 1}' if len(recipe.sources) > 1 else ''} ({reference})"
        for i, reference in enumerate(recipe.sources)
        if source_name(i) not in available
    ]
    ways = ["source (--source FILE)"] if wanted else []
    for index, step in enumerate(recipe.steps):
        number = f"{index + 1}." if len(recipe.steps) > 1 else ""
        for name, reference in step.images.items():
            if image_name(name, index) not in available:
                words = step.specifications.get(name)
                origin = f", found by {words!r}" if words else ""
                wanted.append(f"{name} of {step.operation} ({reference}{origin})")
                ways.append(f"{name} (--set {number}{parameter_of(name)}=FILE)")
                ways[-1] += f", or its segmenter (--set {number}segmenter=NAME)" if words else ""
    if wanted:
        raise InvalidParameter(
            f"the file holds no image but the one it shows, and the recipe needs {'; '.join(wanted)}: pass "
            f"{' and '.join(ways)}"
        )
