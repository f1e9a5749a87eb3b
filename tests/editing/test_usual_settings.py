"""The usual settings of a model: where they count, before what, and that results replay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

import editkit
from editkit import RectifiedFlow
from editkit.editing.capabilities import unnoticed_distillation
from editkit.registry.registry import installed
from editkit.sampling.params import DEFAULT_STEPS, DrawingParams, SamplingParams
from editkit.testing import ToyBackend

IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8))
MASK = Image.new("L", IMAGE.size)
MASK.paste(255, (4, 4, 12, 12))
USUAL = {"steps": 7, "guidance": 4.5, "sampler": "euler-a"}
PROMPTS = {"source": "a red apple", "target": "a green pear"}


def model(**usual: Any) -> ToyBackend:
    toy = ToyBackend(schedule=RectifiedFlow(1000))
    toy.usual = usual  # type: ignore[attr-defined]
    return toy


def edit(operation: str, toy: ToyBackend, **params: Any) -> Any:
    image = None if operation == "generate" else IMAGE
    return editkit.apply(operation, image, model=toy, seed=3, cache=False, **params)


def settings(result: Any) -> tuple[Any, ...]:
    return result.report.steps, result.report.guidance, result.report.sampler


SAMPLING: list[tuple[str, dict[str, Any]]] = [
    ("generate", {}),
    ("img2img", {}),
    ("inpaint", {"mask": MASK}),
    ("outpaint", {"right": 4}),
    ("upscale", {}),
]
"""Operations that leave steps, guidance and sampler to the model."""
INVERTING: list[tuple[str, dict[str, Any]]] = [("prompt-edit", PROMPTS), ("flow-edit", PROMPTS)]


@pytest.mark.parametrize(("operation", "params"), SAMPLING)
def test_operations_that_only_sample_use_the_usual_settings(operation: str, params: dict[str, Any]) -> None:
    result = edit(operation, model(**USUAL), **params)
    assert settings(result) == (7, 4.5, "euler-a")
    assert result.report.warnings == ()
    explicit = edit(operation, model(), **USUAL, **params)
    assert explicit.image.tobytes() == result.image.tobytes()


@pytest.mark.parametrize(("operation", "params"), SAMPLING)
def test_what_the_user_sets_counts_before_the_model(operation: str, params: dict[str, Any]) -> None:
    own = {"steps": 5, "guidance": 2.0, "sampler": "ddim"}
    assert settings(edit(operation, model(**USUAL), **own, **params)) == (5, 2.0, "ddim")
    # Also the value that is the general default.
    assert settings(edit(operation, model(**USUAL), steps=DEFAULT_STEPS, **params)) == (DEFAULT_STEPS, 4.5, "euler-a")


@pytest.mark.parametrize(("operation", "params"), INVERTING)
def test_edits_by_inversion_leave_only_the_steps_to_the_model(operation: str, params: dict[str, Any]) -> None:
    assert settings(edit(operation, model(**USUAL), **params)) == (7, 1.0, "ddim")


def test_an_inversion_and_a_few_step_edit_keep_their_own_steps() -> None:
    assert len(editkit.invert(IMAGE, model=model(**USUAL), seed=3).path) == 51
    assert settings(edit("few-step-edit", model(**USUAL), **PROMPTS)) == (4, 2.0, "lcm")


def test_a_model_that_is_not_guided_is_guided_by_no_default() -> None:
    for operation, params in [*SAMPLING, *INVERTING, ("few-step-edit", PROMPTS)]:
        toy = model(steps=4, guidance=1.0)
        assert edit(operation, toy, **params).report.guidance == 1.0, operation
        assert edit(operation, toy, guidance=3.0, **params).report.guidance == 3.0, operation


def test_a_registered_model_s_defaults_count_before_its_family_s() -> None:
    toy = model(**USUAL)
    toy.name = "emoji-upscaler"
    assert dict(installed().specs["models"]["emoji-upscaler"].defaults) == {"steps": 1}
    assert settings(edit("upscale", toy)) == (1, 4.5, "euler-a")
    assert settings(edit("generate", toy)) == (7, 4.5, "euler-a"), "its defaults are for upscale"


def test_a_replay_has_the_pixels_and_settings_of_the_first() -> None:
    """The recipe names the values, so that it repeats them on a model whose usual settings are others."""
    first = edit("img2img", model(**USUAL), prompt="a pear")
    file = first.encoded(".png", recipe="full")
    for toy in (model(**USUAL), model(), model(steps=3, guidance=9.0)):
        again = editkit.replay(file, model=toy)
        assert again.image.tobytes() == first.image.tobytes()
        assert settings(again) == settings(first)


def test_steps_of_several_models_have_the_settings_of_each() -> None:
    pipeline = editkit.Pipeline([("img2img", {"prompt": "a pear"}), ("img2img", {"prompt": "a plum"})])
    result = pipeline(IMAGE, model=[model(steps=3, guidance=2.0), model(steps=5)], seed=1)
    assert [step.params["steps"] for step in result.recipe.steps] == [3, 5]
    assert [step.params["guidance"] for step in result.recipe.steps] == [2.0, 3.0]


@pytest.mark.parametrize(
    ("name", "warned"),
    [("sdxl-turbo", True), ("org/Hyper-SD", True), ("x/sdxl_lightning_4step.safetensors", True), ("hyperreal", False)],
)
def test_a_name_that_promises_few_steps_is_a_warning_unless_they_are_few(name: str, warned: bool) -> None:
    toy = model()
    toy.name = name
    given = SamplingParams.parse("toy", {})
    assert (unnoticed_distillation(given, given, toy) is not None) == warned
    for params in (SamplingParams.parse("toy", {"steps": 25}), DrawingParams.parse("toy", {})):
        assert unnoticed_distillation(params, params, toy) is None
    assert unnoticed_distillation(given.model_copy(update={"steps": 4}), given, toy) is None
