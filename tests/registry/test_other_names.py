"""Names of diffusers and of other editors are answered by the name that editkit has for the same."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

import editkit
from editkit import InvalidParameter, UnknownName
from editkit.cli import main
from editkit.errors import OTHER_NAMES
from editkit.registry.registry import installed

IMAGE = "samples/red-apple.png"


@pytest.mark.parametrize(
    ("operation", "other", "own"),
    [
        ("img2img", "num_inference_steps", "steps"),
        ("img2img", "guidance_scale", "guidance"),
        ("img2img", "generator", "seed"),
        ("img2img", "denoising_strength", "strength"),
        ("img2img", "scheduler", "sampler"),
        ("img2img", "height", "resolution"),
        ("img2img", "torch_dtype", "dtype"),
        ("img2img", "lora", "adapters"),
        ("inpaint", "mask_image", "mask"),
        ("inpaint", "padding_mask_crop", "context"),
        ("control", "controlnet_conditioning_scale", "control_scale"),
        ("instruct", "image_guidance_scale", "image_guidance"),
        ("instruct", "prompt", "instruction"),
        ("prompt-edit", "prompt", "target"),
    ],
)
def test_a_parameter_of_another_editor_is_answered_by_its_name_here(operation: str, other: str, own: str) -> None:
    with pytest.raises(InvalidParameter, match=f"{operation} has no parameter '{other}'; did you mean '{own}'"):
        editkit.check_params(operation, {other: 1})


def test_advice_is_given_for_names_without_a_parameter_here() -> None:
    with pytest.raises(InvalidParameter, match=r"give several seeds to editkit\.apply_all"):
        editkit.check_params("img2img", {"num_images_per_prompt": 4})


def test_a_scheduler_of_diffusers_is_answered_by_a_sampler() -> None:
    with pytest.raises(UnknownName, match="did you mean 'euler-a'"):
        editkit.check_params("img2img", {"sampler": "EulerAncestralDiscreteScheduler"})


@pytest.mark.parametrize(
    ("option", "own"),
    [("--guidance-scale", "--guidance"), ("--num_inference_steps", "--steps"), ("--num-images", "--count")],
)
def test_an_option_of_another_editor_is_answered_by_its_option_here(option: str, own: str) -> None:
    result = CliRunner().invoke(main, ["img2img", IMAGE, option, "3"])
    assert (result.exit_code, f"No such option '{option}'. Did you mean '{own}'?" in result.output) == (2, True)


def test_every_name_of_the_table_exists_here() -> None:
    specs = installed().specs
    names = {name for spec in specs["operations"].values() for name in spec.params.model_fields}
    options = {option.name for option in main.get_command(None, "img2img").params}  # type: ignore[arg-type, union-attr]
    assert OTHER_NAMES.keys() <= names | options | specs["samplers"].keys() | {"adapters", "progress"}
