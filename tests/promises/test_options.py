"""Every parameter of a call has an effect, or the call is refused, or the report names it."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import Field

import editkit
from editkit import EffectIf, InvalidParameter, Params
from editkit.registry.params import without_effect
from editkit.registry.registry import installed
from editkit.testing import ToyBackend
from editkit.testing.suite import sample_image

SIZE = (16, 16)
MASK = Image.linear_gradient("L").resize(SIZE)
PROMPTS = {"source": "red", "target": "blue"}
EDITS: dict[str, dict[str, Any]] = {
    "img2img": {"prompt": "red"},
    "inpaint": {"prompt": "red", "mask": MASK},
    "outpaint": {"prompt": "red", "right": 4},
    "upscale": {"prompt": "red", "strength": 0.5},
    "prompt-edit": PROMPTS,
    "flow-edit": PROMPTS,
    "few-step-edit": PROMPTS,
    "chord-edit": PROMPTS,
    "uni-edit": PROMPTS,
    "instruct": {"instruction": "make it blue", "source": "a red apple"},
}
IDLE: dict[str, tuple[str, dict[str, Any]]] = {
    "feather without mask": ("img2img", {"feather": 2.0}),
    "negative prompt at guidance 1": ("img2img", {"negative_prompt": "green", "guidance": 1.0}),
    "negative prompt at the default of prompt-edit": ("prompt-edit", {"negative_prompt": "green"}),
    "negative prompt at the default of flow-edit": ("flow-edit", {"negative_prompt": "green"}),
    "negative prompt at the default of instruct": ("instruct", {"negative_prompt": "green"}),
    "rescaling at guidance 1": ("upscale", {"guidance_rescale": 0.5}),
    "start at guidance 1": ("prompt-edit", {"guidance_start": 0.5}),
    "end at guidance 1": ("prompt-edit", {"guidance_end": 0.5}),
    "noise level without upscaling model": ("upscale", {"noise_level": 10}),
    "target equal to the source prompt": ("prompt-edit", {"target": "red"}),
}


def edit(operation: str, **more: Any) -> editkit.Result:
    params = {"steps": 2, "seed": 0, **EDITS[operation], **more}
    result: editkit.Result = editkit.apply(operation, sample_image(SIZE), model=ToyBackend(), **params)
    return result


@pytest.mark.parametrize("operation", EDITS)
def test_an_ordinary_edit_has_no_warning_nor_has_its_recipe(operation: str) -> None:
    result = edit(operation)
    assert result.report.warnings == ()
    spelled_out = {name: value for name, value in result.report.params.items() if value is not None}
    assert edit(operation, **spelled_out).report.warnings == ()


@pytest.mark.parametrize("case", IDLE)
def test_a_parameter_without_effect_is_named(case: str) -> None:
    operation, more = IDLE[case]
    result = edit(operation, **more)
    (warning,) = result.report.warnings
    (name,) = set(more) - {"guidance"}
    assert warning.startswith(f"{name}=") and "has no effect" in warning
    if name != "target":
        assert result.image.tobytes() == edit(operation, **{**more, name: _default(operation, name)}).image.tobytes()


def _default(operation: str, name: str) -> Any:
    return installed().spec("operations", operation).params.model_fields[name].default


@pytest.mark.parametrize(
    "more",
    [
        {"guidance": 0.0},
        {"guidance_start": 0.4, "guidance_end": 0.4},
        {"guidance_start": 0.1, "guidance_end": 0.2},
    ],
    ids=str,
)
def test_guidance_that_reaches_no_step_or_no_prompt_is_named(more: dict[str, float]) -> None:
    (warning,) = edit("img2img", **more).report.warnings
    assert "has no effect" in warning


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"guidance": 5.0, "negative_prompt": "red"}, "guidance=5 has no effect: the prompt equals"),
        ({"guidance": 5.0, "prompt": ""}, "guidance=5 has no effect: the prompt equals"),
        ({"guidance": 0.0, "guidance_rescale": 0.5, "prompt": ""}, "guidance_rescale=0.5 has no effect: guidance is 0"),
    ],
    ids=str,
)
def test_guidance_by_one_estimate_is_named(more: dict[str, Any], named: str) -> None:
    warnings = edit("img2img", **more).report.warnings
    assert [warning for warning in warnings if warning.startswith(named)]
    assert edit("img2img", guidance=5.0, negative_prompt="blue", guidance_rescale=0.5).report.warnings == ()
    inverted = edit("prompt-edit", guidance=0.0, guidance_rescale=0.5).report.warnings
    assert [text for text in inverted if text.startswith("guidance_rescale=0.5 has no effect: guidance is 0")]


@pytest.mark.parametrize("inverter", ["null-text:inner=1", "negative-prompt"])
def test_an_inverter_that_acts_by_an_idle_negative_prompt_is_named(inverter: str) -> None:
    (warning,) = edit("prompt-edit", inverter=inverter).report.warnings
    assert warning.startswith(f"the inverter {inverter.partition(':')[0]} acts by the negative prompt alone")
    plain, guided = edit("prompt-edit", inverter="ddim"), edit("prompt-edit", inverter=inverter, guidance=3.0)
    assert np.array_equal(edit("prompt-edit", inverter=inverter).image, plain.image)
    assert guided.report.warnings == ()


@pytest.mark.parametrize("name", ["guidance_rescale", "guidance_start", "guidance_end"])
def test_guidance_without_text_is_named(name: str) -> None:
    class Blind(ToyBackend):
        provides = frozenset()

    params = {"steps": 2, "seed": 0, name: 0.5}
    (warning,) = editkit.apply("img2img", sample_image(SIZE), model=Blind(), **params).report.warnings
    assert warning == f"{name}=0.5 has no effect: the model takes no text to guide by"


@pytest.mark.parametrize("seeds", [(3, 3), (3, None), (None, None)], ids=str)
def test_a_seed_that_no_step_of_a_pipeline_takes_is_named(seeds: tuple[int | None, ...]) -> None:
    steps = [("img2img", {"steps": 1} | ({} if seed is None else {"seed": seed})) for seed in seeds]
    warnings = editkit.Pipeline(steps)(sample_image(SIZE), model=ToyBackend(), seed=5).report.warnings
    assert [warning.startswith("seed=5 has no effect") for warning in warnings] == ([True] if all(seeds) else [])


def test_an_instruction_beside_another_target_is_named() -> None:
    assert edit("instruct", target="a blue apple").report.warnings == ()
    for instruction in ("make it green", "frobnicate it"):
        (warning,) = edit("instruct", instruction=instruction, target="a blue apple").report.warnings
        assert warning == f"instruction={instruction!r} has no effect: the edit is to the target, which is given"


def test_outpainting_no_side_is_named() -> None:
    (warning,) = edit("outpaint", right=0).report.warnings
    assert "left, right, top and bottom" in warning


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "empty instruction": ("instruct", {"instruction": ""}, "instruction=''"),
    "blank instruction": ("instruct", {"instruction": " \t\n"}, "instruction="),
    "image guidance without image guidance": ("instruct", {"image_guidance": 1.5}, "image_guidance=1.5"),
    "interval in reverse": ("img2img", {"guidance_start": 0.6, "guidance_end": 0.5}, "guidance_start.*guidance_end"),
    "sampler option twice": ("img2img", {"sampler": "ddim:eta=0.2,eta=0.9"}, "'eta' is given twice"),
    "sampler option twice, spelled alike": ("prompt-edit", {"inverter": "edict:mixing=0.9, mixing=0.9"}, "twice"),
    "pull that stops before it starts": ("prompt-edit", {"inverter": "rf-controlled:start=0.5,stop=0.2"}, "stop"),
    "resolution of too many pixels": ("img2img", {"resolution": 16384}, "resolution=16384"),
    "resolution of tiles": ("upscale", {"resolution": 16384}, "resolution=16384"),
    "no Unicode": ("img2img", {"prompt": "\udcff"}, "prompt="),
    "no Unicode in the source prompt": ("prompt-edit", {"source": "red \ud800"}, "prompt-edit: source="),
    "number as source prompt": ("prompt-edit", {"source": 5}, "prompt-edit: source=5"),
    "number as source prompt of flow-edit": ("flow-edit", {"source": 5}, "flow-edit: source=5"),
    "numpy bool as number": ("img2img", {"guidance": np.True_}, "guidance=True"),
    "torch bool as number": ("img2img", {"strength": torch.tensor(True)}, "strength=True"),
    "bool as steps": ("img2img", {"steps": np.True_}, "steps=True"),
    "array as names": ("img2img", {"attach": np.array([])}, "attach="),
    "mapping as names": ("img2img", {"attach": {}}, "attach="),
    "one name as names": ("img2img", {"attach": "controlnet"}, "attach='controlnet'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_contradiction_is_refused_by_name(case: str) -> None:
    operation, more, message = REFUSED[case]
    with pytest.raises(InvalidParameter, match=message):
        edit(operation, **more)


@pytest.mark.parametrize(
    "number", [np.float32(0.5), np.float64(0.5), torch.tensor(0.5)], ids=lambda one: str(type(one))
)
def test_a_scalar_of_another_library_is_a_number(number: Any) -> None:
    assert edit("img2img", strength=number, steps=np.int64(2)).report.params["strength"] == 0.5


class SoftParams(Params):
    soft: bool = Field(False, description="Whether the edge is soft.")
    width: Annotated[float, EffectIf(lambda params, model: params.soft, "soft is off")] = Field(
        1.0, description="Width of the edge."
    )


def test_a_plugin_declares_the_condition_beside_its_parameter() -> None:
    assert list(without_effect(SoftParams(width=2.0), None)) == ["width=2.0 has no effect: soft is off"]
    assert not list(without_effect(SoftParams(width=2.0, soft=True), None))
    assert not list(without_effect(SoftParams(width=1.0), None))
