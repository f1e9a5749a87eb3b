"""Pipeline files of a wrong form are refused by name, and small ones stay small."""

from __future__ import annotations

from typing import Any

import pytest

from editkit import BadFile, InvalidParameter, Pipeline
from editkit.registry.params import shorten

BOMB = "\n".join(["a0: &a0 [1, 1]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10))])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("steps: {img2img: {prompt: tomato, strength: 0.1}}", "steps is a mapping, not a list"),
        ("model: nowhere\nsteps: [img2img]", "'model' beside steps has no meaning"),
        ("img2img: {prompt: tomato}", "steps is nothing, not a list"),
        ("steps: img2img", "steps is text, not a list"),
        ("root:x:0:0", "steps is text, not a list"),
        ("steps: 5", "steps is a number, not a list"),
        ("", "steps is nothing, not a list"),
        ("[{img2img: {}, inpaint: {}}]", "step 1 is a mapping with 2 entries"),
        ("[img2img, [img2img, {}]]", "step 2 is a list, not a mapping"),
        ("[2001-01-01]", "step 1 is a date, not a mapping"),
        ("[{img2img: tomato}]", "the parameters of step 1 are text, not a mapping"),
        ("[{img2img: [1]}]", "the parameters of step 1 are a list, not a mapping"),
        ("[{img2img: false}]", "the parameters of step 1 are a bool, not a mapping"),
        ("[{img2img: {5: 6}}]", "step 1 has a number in place of a name"),
        ("[{5: {}}]", "step 1 has a number in place of a name"),
        ("[{img2img: {seed: 2001-99-99}}]", "month must be in 1..12"),
        (f"[{{img2img: {{seed: {'9' * 5000}}}}}]", "integer string conversion"),
        ("[" * 2000, "recursion"),
        ("[{img2img: {steps: 1, prompt: a, steps: 2}}]", "'steps' is given twice"),
        ("steps: [img2img]\nsteps: [img2img]", "'steps' is given twice"),
        (f"{BOMB}\nsteps: *a9", "aliases are not allowed"),
        (f"{BOMB}\nsteps: [{{img2img: {{prompt: *a9}}}}]", "aliases are not allowed"),
    ],
)
def test_a_pipeline_of_a_wrong_form_is_refused_with_the_right_one(text: str, reason: str) -> None:
    with pytest.raises(BadFile, match=r"write steps: \[\{operation: \{parameter: value\}\}\]") as refused:
        Pipeline.from_yaml(text)
    assert reason in str(refused.value) and "\n" not in str(refused.value) and len(str(refused.value)) < 400


def test_a_pipeline_keeps_its_parameters() -> None:
    pipeline = Pipeline.from_yaml("[{img2img: {prompt: tomato, guidance-start: 0.5}}, img2img, {img2img: }]")
    first = ("img2img", {"prompt": "tomato", "guidance_start": 0.5})
    assert pipeline.steps == [first, ("img2img", {}), ("img2img", {})]


def test_an_argument_of_the_call_in_a_step_is_named() -> None:
    with pytest.raises(InvalidParameter, match="no parameter 'model': it is an argument of the whole call"):
        Pipeline([("img2img", {"model": "nowhere"})])


@pytest.mark.parametrize("steps", [5, "ab", ["ab"], [("img2img", 5)], [("img2img",)], [None]])
def test_steps_in_python_of_a_wrong_form_are_refused(steps: Any) -> None:
    with pytest.raises(InvalidParameter, match="operation, parameters"):
        Pipeline(steps)


def test_the_text_of_a_value_in_a_message_costs_little() -> None:
    bomb: list[Any] = ["x"]
    for _ in range(40):
        bomb = [bomb] * 10
    assert len(shorten(bomb)) <= 60
    with pytest.raises(InvalidParameter, match="prompt="):
        Pipeline([("img2img", {"prompt": bomb})])
    assert shorten(10**6000) == "<int of 19932 bits>"
    for value in (5, "a" * 58, [1.5, "x"], None, {"a": (1, 2)}):
        assert shorten(value) == repr(value)
    assert shorten("a" * 100) == f"'{'a' * 56}..."
