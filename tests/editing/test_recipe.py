"""Laws of recipes and pipelines that were written by hand: whatever is wrong in one is an error of one line."""

from __future__ import annotations

import dataclasses as dc
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import editkit
from editkit import BadFile, EditkitError, InvalidParameter
from editkit.editing.recipe import ModelReference, Recipe, Step
from editkit.images.png_metadata import encode_png
from editkit.registry.params import field_metadata, image_fields
from editkit.registry.registry import installed
from editkit.testing import ToyBackend
from editkit.testing.suite import sample_image

SOURCE = sample_image((8, 8))
WRONG: list[Any] = [
    5,
    5.5,
    True,
    ["ddim", 5],
    [["ddim"]],
    {"controlnet": {"kind": "edge"}},
    {},
    "",
    "x:y",
    "ddim:eta=x",
]
"""Values that are neither a registered name nor a list of such names."""


@functools.cache
def saved() -> editkit.Result:
    result: editkit.Result = editkit.apply("img2img", SOURCE, model=ToyBackend(), strength=0.0, seed=1)
    return result


def unchanged() -> editkit.Result:
    return dc.replace(saved())


def recipe_of(*steps: tuple[str, dict[str, Any]]) -> bytes:
    """A PNG with a recipe that somebody wrote into it."""
    created = unchanged()
    drawn_by = ModelReference(model="toy", identity="x", dtype="float32")
    written = tuple(Step(operation=operation, drawn_by=drawn_by, params=params) for operation, params in steps)
    created.recipe = Recipe(version="1", steps=written, sources=created.recipe.sources)
    data: bytes = created.encoded(".png", recipe="full")
    return data


def naming() -> list[tuple[str, str]]:
    """Every parameter of every operation that names something registered, or is an image."""
    specs = installed().specs["operations"]
    return [
        (operation, name)
        for operation, spec in specs.items()
        for name, field in spec.params.model_fields.items()
        if "registry" in field_metadata(field) or name in image_fields(spec.params)
    ]


def assert_refused(message: EditkitError, name: str) -> None:
    assert "\n" not in str(message) and len(str(message)) < 500
    assert isinstance(message, BadFile) or message.exit_status == 2, name


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_a_name_of_the_wrong_form_is_one_clean_error(wrong: Any) -> None:
    for operation, name in naming():
        with pytest.raises(EditkitError) as in_pipeline:
            editkit.Pipeline.from_yaml(json.dumps({"steps": [{operation: {name: wrong}}]}))(SOURCE, model=ToyBackend())
        with pytest.raises(EditkitError) as in_recipe:
            editkit.replay(recipe_of((operation, {name: wrong})), model=ToyBackend())
        for error in (in_pipeline, in_recipe):
            assert_refused(error.value, name)


def test_a_number_for_names_is_named() -> None:
    for name in ("attach", "sampler"):
        with pytest.raises(InvalidParameter, match=f"{name}=5 is not allowed: give a name"):
            editkit.replay(recipe_of(("img2img", {name: 5})), model=ToyBackend())
    with pytest.raises(InvalidParameter, match="attach=5 is not allowed"):
        editkit.Pipeline([("img2img", {"attach": 5})])


@pytest.mark.parametrize("steps", [[], [("invert", {"steps": 1})]])
def test_a_recipe_without_an_image_is_damaged(steps: list[tuple[str, dict[str, Any]]]) -> None:
    with pytest.raises(BadFile, match="makes no image"):
        editkit.replay(recipe_of(*steps), model=ToyBackend())


def test_the_error_for_another_schema_names_the_writer() -> None:
    """Any content, including fields that this version does not have."""
    strange = json.dumps({"version": "7.1", "schema_version": 99, "engine": "steam"})
    with pytest.raises(BadFile, match=r"editkit 7\.1 in schema 99.*with that version"):
        editkit.replay(encode_png(SOURCE, recipe=strange))


def test_a_mask_of_none_is_refused() -> None:
    for call in (
        lambda: editkit.apply("inpaint", SOURCE, model=ToyBackend(), mask=None),
        lambda: editkit.replay(recipe_of(("inpaint", {"mask": None})), model=ToyBackend()),
    ):
        with pytest.raises(InvalidParameter, match="inpaint needs the parameter 'mask'"):
            call()


def test_a_replay_opens_no_image_that_a_recipe_names(tmp_path: Path) -> None:
    """A crafted path would put a private image of the reader's into the result, and tell whether a file exists."""
    private = tmp_path / "private.png"
    SOURCE.save(private)
    specs = installed().specs["operations"]
    named = [(operation, name) for operation, name in naming() if name in image_fields(specs[operation].params)]
    assert ("img2img", "mask") in named and ("control", "control_image") in named
    for path in (str(private), str(tmp_path / "missing.png"), "-"):
        for operation, name in named:
            with pytest.raises(InvalidParameter, match=f"no path is taken from a file: pass {name}= to editkit.replay"):
                editkit.replay(recipe_of((operation, {name: path})), model=ToyBackend())
    recipe = recipe_of(("img2img", {"mask": str(private), "prompt": "", "steps": 2}))
    mask = np.eye(*SOURCE.size, dtype=bool)
    assert editkit.replay(recipe, model=ToyBackend(), mask=mask).report.untouched_max_diff == 0


def test_an_inversion_file_names_no_path(tmp_path: Path) -> None:
    steps = {"steps": 1, "attach": (f"controlnet:weights={tmp_path}",)}
    inversion = editkit.invert(SOURCE, model=ToyBackend(), steps=1)
    crafted = dc.replace(inversion, params=inversion.params | steps).save(tmp_path / "x.safetensors")
    for arguments in (crafted, editkit.Inversion.load(crafted)):
        with pytest.raises(InvalidParameter, match="no path is taken from a file: pass attach= to reconstruct"):
            editkit.reconstruct(arguments, model=ToyBackend())
    assert editkit.reconstruct(crafted, model=ToyBackend(), attach=()).image.size == SOURCE.size


def test_the_switch_of_older_recipes_is_the_mask_by_the_difference() -> None:
    drawn_by = saved().recipe.steps[0].drawn_by
    for switch, mask in ((True, "difference"), (False, None), ("both", "both")):
        assert Step(operation="instruct", drawn_by=drawn_by, params={"auto_mask": switch}).params == {"auto_mask": mask}
