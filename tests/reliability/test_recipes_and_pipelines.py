"""Tampered recipes and pipeline files: what is answered is done as the file says, and everything else is refused."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from PIL import Image
from reliability_mutations import mutated_bytes, mutated_trees

import editkit
from editkit.editing.recipe import read_recipe
from editkit.images.png_metadata import encode_png
from editkit.testing import ToyBackend
from editkit.testing.suite import sample_image

pytestmark = [pytest.mark.reliability, pytest.mark.slow]

SIZE = (12, 10)
SOURCE = sample_image(SIZE)
MODEL = ToyBackend()


@functools.cache
def saved(suffix: str = ".png") -> bytes:
    result = editkit.apply(
        "img2img", SOURCE, model=MODEL, prompt="red", mask=Image.new("L", SIZE, 255), steps=2, seed=3, cache=False
    )
    data: bytes = result.encoded(suffix, recipe="full" if suffix == ".png" else "text")
    return data


def does_as_the_file_says(data: bytes, result: editkit.Result) -> bool:
    """Whether a replay has the operations, the parameters and the images that the recipe in the file names."""
    recipe, _ = read_recipe(data)
    for reference, step in zip(recipe.steps, result.recipe.steps, strict=True):
        same_images = reference.images == step.images or bool(result.report.warnings)
        if reference.operation != step.operation or not same_images:
            return False
        if any(step.params.get(name) != value for name, value in reference.params.items()):
            return False
    return result.image.size == SIZE


def replayed(data: bytes) -> editkit.Result:
    # The embedded images are refused in place of a source, which the recipe's digest verifies.
    return editkit.replay(data, model=MODEL, cache=False)


def test_tampered_recipes_are_refused_or_done(probe: Any, long: bool) -> None:
    recipe, images = read_recipe(saved())
    tree = json.loads(recipe.model_dump_json())
    with probe("tampered recipes: JSON") as tally:
        for label, path, changed in mutated_trees(tree, 3000 if long else 260):
            data = encode_png(SOURCE, recipe=json.dumps(changed), attachments=images)
            is_path = path[-1] in ("mask", "controlnet") and isinstance(changed, dict)
            check = functools.partial(does_as_the_file_says, data)
            call = functools.partial(replayed, data)
            tally.attempt(label, call, valid=False if is_path else None, check=check, seconds=30)


def test_damaged_recipe_files_are_refused_or_done(probe: Any, long: bool) -> None:
    with probe("tampered recipes: bytes") as tally:
        for label, data in mutated_bytes(saved(), 1000 if long else 100):
            tally.attempt(
                f"PNG {label}", functools.partial(replayed, data), check=functools.partial(does_as_the_file_says, data)
            )
        for suffix in (".jpg", ".webp"):
            for label, data in mutated_bytes(saved(suffix), 500 if long else 50):
                call = functools.partial(
                    editkit.replay, data, model=MODEL, source=SOURCE, mask=Image.new("L", SIZE, 255), cache=False
                )
                tally.attempt(f"{suffix} {label}", call, check=functools.partial(does_as_the_file_says, data))


# Pipelines

PIPELINE = {
    "steps": [{"img2img": {"prompt": "tomato", "strength": 0.5, "steps": 2, "attach": []}}, {"upscale": {"scale": 2}}]
}
RIGHT = (
    "- img2img",
    "- img2img: {seed: 0x7}",
    "- img2img: {<<: {strength: 0.1}}",
    "- img2img: {prompt: 'tomato, red'}",
    "\ufeff- img2img",
    "%YAML 1.1\n---\n- img2img",
    "steps: [{img2img: null}]",
)
"""Texts of pipelines that are right, some in a way that a reader may not expect."""
WRONG = (
    "",
    "steps",
    "steps:",
    "steps: img2img",
    "steps: {img2img: {prompt: tomato}}",
    "- img2img\n- moon",
    "- img2img: {prompt: a, prompt: b}",
    "steps: [img2img]\nsteps: [upscale]",
    "- img2img: {strength: 0.1}\n  upscale: {}",
    "- img2img: {strength: 2001-99-99}",
    "- img2img: {strength: " + "9" * 5000 + "}",
    "- img2img: {strength: 1:30}",
    "- img2img: {prompt: 2001-01-01}",
    "- img2img: {prompt: no}",
    "- img2img: &a {prompt: x}\n- img2img: *a",
    "a: &a [x]\nb: &b [*a,*a]\nsteps: [*b]",
    "- !!python/object/apply:os.system ['true']",
    "- img2img: !!python/name:os.system",
    "- img2img: !!binary aGVsbG8=",
    "- ? [a]\n: b",
    "- img2img: {prompt: !!set {a, b}}",
    "[" * 2000,
    "{" * 2000,
    "- " * 3000,
    "\0",
    "- img2img: {prompt: '\ud800'}",
    '- img2img: {prompt: "\\ud800"}',
    "%YAML 9.9\n---\n- img2img",
    "- img2img\n---\n- upscale",
    "- img2img: {strength: .nan}",
    "- img2img: {strength: .inf}",
    "- img2img: {moon: 1}",
    "- interpolate: {}",
    "- invert",
    "- 5",
    "- [img2img]",
    "x" * 100_000,
)
"""Texts of pipelines of which something would be lost, or run, if they were accepted."""


def keeps_everything(text: str, pipeline: editkit.Pipeline) -> bool:
    """Whether a pipeline has the steps and the parameters of its text."""
    content = yaml.safe_load(text)
    steps = content["steps"] if isinstance(content, dict) else content
    expected = [(step, {}) if isinstance(step, str) else next(iter(step.items())) for step in steps]
    named = [
        (name, {key.replace("-", "_"): value for key, value in (params or {}).items()}) for name, params in expected
    ]
    return [(name, dict(params)) for name, params in pipeline.steps] == named


def pipeline_texts(count: int) -> Iterator[tuple[str, str, bool | None]]:
    """Labels, texts, and whether they have to be answered (True) or refused (False)."""
    yield from ((text[:40], text, True) for text in RIGHT)
    yield from ((text[:40], text, False) for text in WRONG)
    for label, _, tree in mutated_trees(PIPELINE, count):
        yield label, yaml.safe_dump(tree, allow_unicode=True), None
    for label, data in mutated_bytes(yaml.safe_dump(PIPELINE).encode(), count):
        yield label, data.decode("utf-8", "replace"), None


def test_pipelines_are_refused_or_keep_everything(probe: Any, long: bool) -> None:
    with probe("pipeline files") as tally:
        for label, text, valid in pipeline_texts(2000 if long else 200):
            call = functools.partial(editkit.Pipeline.from_yaml, text)
            tally.attempt(repr(label), call, valid=valid, check=functools.partial(keeps_everything, text), seconds=20)
