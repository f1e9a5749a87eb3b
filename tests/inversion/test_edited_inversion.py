"""An inversion in place of its image: the edit is that of the image, bit for bit, and inverts nothing."""

from __future__ import annotations

import dataclasses as dc
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from PIL import Image, ImageChops

import editkit
from editkit import Backend, BadFile, InvalidParameter
from editkit.cli import main
from editkit.editing.apply import execute
from editkit.editing.request import prepare
from editkit.registry.registry import installed
from editkit.testing import ToyBackend
from editkit.testing.suite import sample_image
from editkit.testing.tiny import flux_control_folder

IMAGE = sample_image((20, 14), "RGBA")
PROMPTS = {"source": "a red apple", "target": "a green apple"}
INVERSIONS: dict[str, dict[str, Any]] = {
    "pinned": {"resolution": 16},
    "ddim": {"spacing": "trailing"},
    "virtual": {"seed": 5},
    "edit-friendly": {"seed": 5, "guidance": 3.0},
    "null-text": {"guidance": 3.0},
    "edict": {"guidance": 3.0},
    "belm": {"guidance": 3.0, "negative_prompt": "a pear"},
}
"""Settings of an inversion by each inverter, on which it depends."""
SLOW = {"null-text", "edict"}
EDITS: dict[str, dict[str, Any]] = {
    "pinned": {"guidance": 3.0, "seed": 8, "attach": ["prompt-to-prompt"]},
    "ddim": {"sampler": "dpmpp-2m"},
    # Both the inversion and the sampling draw noise, the one after the other.
    "virtual": {"sampler": "ddim:eta=0.7"},
}
"""Further settings of an edit, on which the inversion does not depend."""


@pytest.fixture
def file(tiny_model: Backend, tmp_path: Path) -> Path:
    inversion = editkit.invert(IMAGE, model=tiny_model, prompt="a red apple", steps=3, seed=1)
    return inversion.save(tmp_path / "apple.safetensors")


@pytest.mark.parametrize(
    "method", [pytest.param(one, marks=pytest.mark.slow if one in SLOW else ()) for one in INVERSIONS]
)
def test_an_edited_inversion_equals_the_edited_image(method: str, tiny_model: Backend, tmp_path: Path) -> None:
    settings, edit = INVERSIONS[method], EDITS.get(method, {})
    mask = Image.new("L", IMAGE.size)
    mask.paste(255, (4, 0, 20, 14))
    inversion = editkit.invert(IMAGE, model=tiny_model, prompt="a red apple", method=method, steps=3, **settings)
    file = inversion.save(tmp_path / "apple.safetensors")
    kept = {"negative_prompt": "", **settings} if settings.get("guidance") else settings
    values = {**PROMPTS, "inverter": method, "steps": 3, "mask": mask, "frame": "off", **kept, **edit}
    image = editkit.apply("prompt-edit", IMAGE, model=tiny_model, cache=False, **values)
    for taken in (inversion, file):
        chosen = {"target": "a green apple", "mask": mask, **edit}
        result = editkit.apply("prompt-edit", taken, model=tiny_model, **chosen)
        assert result.image.tobytes() == image.image.tobytes() != IMAGE.tobytes()
        assert result.recipe.steps[0].operation == "prompt-edit" and result.recipe.sources == image.recipe.sources
        ignored = {} if "seed" in {**settings, **edit} else {"seed": result.report.params["seed"]}
        assert result.recipe.steps[0].params == image.recipe.steps[0].params | ignored
        assert result.report.inverter == method and result.report.untouched_max_diff == 0
        assert result.report.recon_psnr == image.report.recon_psnr
    file.unlink()
    assert editkit.replay(result, model=tiny_model).image.tobytes() == image.image.tobytes()


def test_an_edited_inversion_costs_no_call_to_invert(tiny_model: Backend, file: Path) -> None:
    editkit.apply("prompt-edit", IMAGE, model=tiny_model, steps=3, frame="off", **PROMPTS)
    cached = editkit.apply("prompt-edit", IMAGE, model=tiny_model, steps=3, frame="off", **PROMPTS).report
    report = editkit.apply("prompt-edit", file, model=tiny_model, cache=False, target="a green apple").report
    assert (report.network_calls, report.network_samples) == (cached.network_calls, cached.network_samples) == (3, 4)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"source": "a pear"}, "source='a pear' is not allowed: the inversion was made under the prompt 'a red apple'"),
        ({"inverter": "ddim"}, "inverter='ddim' is not allowed: the inversion was made by 'pinned'"),
        ({"steps": 9}, "steps=9 is not allowed: the inversion was made in 3 steps"),
        ({"spacing": "trailing"}, "spacing='trailing' is not allowed: the inversion was made without spacing"),
        ({"sampler": "lcm"}, "sampler='lcm' is not allowed: the inversion has other timesteps than that sampler takes"),
        ({"resolution": 8}, "resolution=8 is not allowed: the inversion was made without resolution"),
        ({"long_prompts": True}, "long_prompts=True is not allowed: the inversion was made with long_prompts=False"),
        ({"frame": "auto"}, "frame='auto' is not allowed: the inversion is of the whole image"),
    ],
)
def test_an_edit_that_contradicts_its_inversion_is_refused(given: Any, named: str, file: Path) -> None:
    with pytest.raises(InvalidParameter) as refused:
        editkit.apply("prompt-edit", file, model="no such model", target="a green apple", **given)
    assert str(refused.value).startswith(named) and str(refused.value).endswith("edit the image")


def test_settings_of_the_inversion_itself_contradict_nothing(tiny_model: Backend, file: Path) -> None:
    given = {"source": "a red apple", "inverter": "pinned", "steps": 3, "frame": False, "spacing": None}
    one, other = (
        editkit.apply("prompt-edit", file, model=tiny_model, target="a green apple", **values) for values in ({}, given)
    )
    assert one.image.tobytes() == other.image.tobytes()


def test_noise_and_guidance_belong_to_an_inversion_that_uses_them(tiny_model: Backend) -> None:
    for method, given in (("virtual", {"seed": 2}), ("edict", {"guidance": 2.0})):
        inversion = editkit.invert(IMAGE, model=tiny_model, method=method, steps=2, seed=1)
        with pytest.raises(InvalidParameter, match=f"^{next(iter(given))}=2.* the inversion was made with"):
            editkit.apply("prompt-edit", inversion, model=tiny_model, target="a pear", **given)


@pytest.mark.slow
def test_a_control_that_acts_on_the_inversion_belongs_to_it(tmp_path: Path) -> None:
    image = sample_image((32, 32))
    model = editkit.load_model(str(flux_control_folder(tmp_path / "flux-control")))
    call = ["controlnet:kind=edge"]
    steered = editkit.invert(image, model=model, steps=2, attach=call)
    plain = dc.replace(steered, params={**steered.params, "attach": []})
    with pytest.raises(InvalidParameter, match="it acts on the inversion too, which was made without it"):
        editkit.apply("prompt-edit", plain, model=model, target="a pear", attach=call)
    with pytest.raises(InvalidParameter, match="the inversion was made with 'controlnet:kind=edge'; attach that too"):
        editkit.apply("prompt-edit", steered, model=model, target="a pear", attach=[])
    result = editkit.apply("prompt-edit", steered, model=model, target="a pear")
    assert editkit.replay(result, model=model).image.tobytes() == result.image.tobytes()


def test_prompts_in_more_chunks_than_those_of_the_inversion_are_refused(tiny_model: Backend) -> None:
    long, settings = "a green apple on a white plate beside a yellow pear", {"model": tiny_model, "guidance": 3.0}
    short, other = (
        editkit.invert(IMAGE, model=tiny_model, prompt=prompt, steps=2, seed=1, long_prompts=True)
        for prompt in ("a red apple", f"{long} and a blue cup")
    )
    with pytest.raises(InvalidParameter, match=r"^long_prompts=True is .* the prompts of the edit are longer"):
        editkit.apply("prompt-edit", short, target=long, **settings)
    for inversion, target in ((short, "a pear"), (other, long)):
        result = editkit.apply("prompt-edit", inversion, target=target, **settings)
        again = editkit.replay(result, model=tiny_model, cache=False)
        assert again.image.tobytes() == result.image.tobytes() != IMAGE.tobytes()


def test_a_saved_edit_of_an_inversion_is_replayed_from_the_inversion(
    tiny_model: Backend, file: Path, tmp_path: Path
) -> None:
    result = editkit.apply("prompt-edit", file, model=tiny_model, target="a pear", seed=2)
    path = result.save(tmp_path / "pear.png")
    for source in (file, str(file), editkit.Inversion.load(file)):
        assert editkit.replay(path, model=tiny_model, source=source).image.tobytes() == result.image.tobytes()
    other = editkit.invert(sample_image((20, 14)), model=tiny_model, steps=1)
    with pytest.raises(InvalidParameter, match="source"):
        editkit.replay(path, model=tiny_model, source=other)


def test_loading_options_are_named_where_a_model_is_another_one(tiny_folder: Path, file: Path) -> None:
    with pytest.raises(InvalidParameter, match=r"not with '\S+ with clip_skip=1' \("):
        editkit.apply("prompt-edit", file, model=str(tiny_folder), clip_skip=1, target="a green apple")


def test_another_model_or_dtype_than_that_of_the_inversion_is_refused(
    tiny_model: Backend, tiny_folder: Path, file: Path
) -> None:
    with pytest.raises(InvalidParameter, match="the inversion was made with the model"):
        editkit.apply("prompt-edit", file, model=ToyBackend(), target="a green apple")
    with pytest.raises(InvalidParameter, match="dtype=bfloat16 is not allowed: the inversion was made in float32"):
        editkit.apply("prompt-edit", file, model=str(tiny_folder), dtype="bfloat16", target="a green apple")


def test_an_inversion_without_the_state_of_its_noise_is_refused(tiny_model: Backend, tmp_path: Path) -> None:
    inversion = editkit.invert(IMAGE, model=tiny_model, method="virtual", steps=2)
    assert inversion.random is not None
    request = prepare(installed(), "prompt-edit", inversion, {"target": "a pear"})
    old = request._replace(inversion=dc.replace(inversion, random=None))
    with pytest.raises(BadFile, match="without the state of its noise"):
        execute(installed(), old, tiny_model)


def test_the_command_edits_inversions_beside_images(tiny_folder: Path, file: Path, tmp_path: Path) -> None:
    IMAGE.save(tmp_path / "apple.png")
    words = ["prompt-edit", str(file), "--target", "a green apple", "-m", str(tiny_folder), "--json", "--seed", "1"]
    alone = CliRunner().invoke(main, words)
    assert alone.exit_code == 0, alone.output
    assert Path(json.loads(alone.stdout)["output"]).name == "apple-prompt-edit.png"
    more = [*words, str(tmp_path / "apple.png"), "--steps", "3", "-o", str(tmp_path / "both")]
    missing = CliRunner().invoke(main, more)
    assert missing.exit_code == 2 and "needs the parameter 'source'" in missing.output
    both = CliRunner().invoke(main, [*more, "--source", "a red apple", "--frame", "off", "--existing", "number"])
    assert both.exit_code == 0, both.output
    one, other = (Image.open(json.loads(line)["output"]) for line in both.stdout.splitlines())
    difference = ImageChops.difference(one.convert("RGB"), other.convert("RGB")).getextrema()
    assert max(high for _, high in difference) <= 1, "the image is inverted among others, by calls of other sizes"


def test_an_inversion_is_the_first_input_of_a_pipeline(tiny_model: Backend, file: Path) -> None:
    pipeline = editkit.Pipeline([("prompt-edit", {**PROMPTS, "steps": 3}), ("img2img", {"prompt": "x", "steps": 2})])
    result = pipeline(file, model=tiny_model, seed=4)
    assert [step.operation for step in result.recipe.steps] == ["prompt-edit", "img2img"]
    assert editkit.replay(result, model=tiny_model).image.tobytes() == result.image.tobytes()


def test_targets_of_one_inversion_in_a_batch_equal_their_single_edits(tiny_model: Backend, file: Path) -> None:
    inversion = editkit.Inversion.load(file)
    shared = {"model": tiny_model, "guidance": 3.0, "seed": 1, "attach": ["prompt-to-prompt"]}
    targets = [{"target": "a green apple"}, {"target": "a lemon"}]
    for one, target in zip(
        editkit.apply_all("prompt-edit", [inversion] * 2, each=targets, exact=False, **shared), targets, strict=True
    ):
        single = editkit.apply("prompt-edit", inversion, **target, **shared)
        assert torch.allclose(one.latents, single.latents, rtol=0, atol=1e-4)
        assert one.recipe == single.recipe
