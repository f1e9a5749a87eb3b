"""The promises of every edit, over sizes and kinds of pictures, on real diffusers classes with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import editkit
from editkit.testing.tiny import stable_diffusion_folder

SIZES = [(1, 1), (7, 5), (37, 61), (64, 64), (300, 200)]
EDITS: dict[str, dict[str, Any]] = {
    "img2img": {"prompt": "blue", "strength": 0.7},
    "prompt-edit": {"source": "red", "target": "blue"},
}
NOTHING: dict[str, dict[str, Any]] = {
    "img2img": {"prompt": "blue", "strength": 0.0},
    "prompt-edit": {"source": "red", "target": "red", "guidance": 7.5},
}
MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> editkit.Backend:
    return editkit.load_model(str(stable_diffusion_folder(tmp_path_factory.mktemp("tiny"))))


def noise(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """A picture of random pixels in the given mode."""
    random = np.random.default_rng(0)
    if mode == "I;16":
        return Image.fromarray(random.integers(0, 65536, (size[1], size[0]), dtype=np.uint16))
    picture = Image.fromarray(random.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8))
    return picture if mode == "RGBA" else picture.convert("RGB" if mode == "P" else mode).convert(mode)


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.mode == other.mode and np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("operation", EDITS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_same_size_out_changed_inside_the_mask_and_nowhere_else(
    model: editkit.Backend, operation: str, size: tuple[int, int]
) -> None:
    source = noise(size)
    mask = np.zeros((size[1], size[0]), np.float32)
    mask[: (size[1] + 1) // 2] = 0.5
    result = editkit.apply(operation, source, model=model, mask=mask, steps=3, seed=0, **EDITS[operation])
    assert result.image.size == size
    assert result.report.untouched_max_diff == 0
    untouched = mask == 0
    assert np.array_equal(np.asarray(result.image)[untouched], np.asarray(source)[untouched])
    assert not same(result.image, source)


@pytest.mark.parametrize("operation", NOTHING)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_an_edit_that_asks_for_nothing_gives_the_source(
    model: editkit.Backend, operation: str, size: tuple[int, int]
) -> None:
    result = editkit.apply(operation, noise(size), model=model, steps=3, **NOTHING[operation])
    assert same(result.image, noise(size))


@pytest.mark.parametrize("operation", EDITS)
def test_an_empty_mask_gives_the_source(model: editkit.Backend, operation: str) -> None:
    source = noise((37, 61), "RGBA")
    result = editkit.apply(
        operation, source, model=model, steps=2, mask=Image.new("L", source.size), **EDITS[operation]
    )
    assert same(result.image, source)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_edited_as_the_picture_it_shows(model: editkit.Backend, mode: str) -> None:
    source = noise((40, 24), mode)
    seen = editkit.open_image(source)
    nothing = editkit.apply("prompt-edit", source, model=model, steps=2, source="red", target="red")
    edited = editkit.apply("prompt-edit", source, model=model, steps=2, source="red", target="blue")
    assert same(nothing.image, seen)
    assert edited.image.mode == seen.mode
    if seen.mode == "RGBA":
        assert same(edited.image.getchannel("A"), seen.getchannel("A"))


@pytest.mark.parametrize("operation", [*EDITS, "generate"])
def test_the_same_seed_gives_the_same_pixels_and_so_does_the_recipe(
    model: editkit.Backend, operation: str, tmp_path: Path
) -> None:
    params = {"steps": 3, "seed": 5, "sampler": "ddpm", **EDITS.get(operation, {"prompt": "red", "width": 37})}
    given = () if operation == "generate" else (noise((37, 61), "RGBA"),)
    first = editkit.apply(operation, *given, model=model, **params)
    second = editkit.apply(operation, *given, model=model, **params)
    again = editkit.replay(first.save(tmp_path / "first.png"), model=model)
    assert same(first.image, second.image)
    assert same(first.image, again.image)
    assert not again.report.warnings


def test_a_masked_pipeline_replays_from_its_own_file(model: editkit.Backend, tmp_path: Path) -> None:
    mask = Image.linear_gradient("L").resize((37, 61))
    steps = [
        ("img2img", {**EDITS["img2img"], "mask": mask, "feather": 4.0, "steps": 3}),
        ("prompt-edit", {**EDITS["prompt-edit"], "steps": 2}),
    ]
    result = editkit.Pipeline(steps)(noise((37, 61)), model=model, seed=3)
    again = editkit.replay(result.save(tmp_path / "made.png"), model=model)
    assert same(result.image, again.image)
    assert result.report.network_calls == again.report.network_calls


@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_exact_inverters_reach_the_bound_of_the_autoencoder(model: editkit.Backend, guidance: float) -> None:
    for name, spec in editkit.inverters().items():
        if spec.exact:
            inversion = editkit.invert(noise((64, 64)), model=model, prompt="red", method=name, steps=5)
            report = editkit.reconstruct(inversion, model=model, guidance=guidance).report
            assert report.recon_psnr == pytest.approx(report.vae_psnr, abs=0.05), name


def test_interpolation_begins_and_ends_with_the_given_pictures(model: editkit.Backend) -> None:
    first, second = noise((37, 61)), noise((37, 61)).transpose(Image.Transpose.ROTATE_180)
    result = editkit.apply("interpolate", (first, second), model=model, frames=3, steps=3)
    assert len(result.frames) == 3
    assert same(result.frames[0], first)
    assert same(result.frames[-1], second)


def test_an_inversion_in_a_file_carries_all_that_a_replay_needs(model: editkit.Backend, tmp_path: Path) -> None:
    inversion = editkit.invert(noise((37, 61), "RGBA"), model=model, prompt="red", steps=4)
    loaded = editkit.Inversion.load(inversion.save(tmp_path / "x.safetensors"))
    here, there = (editkit.reconstruct(one, model=model) for one in (inversion, loaded))
    again = editkit.replay(here.save(tmp_path / "back.png"), model=model)
    assert same(here.image, there.image)
    assert same(here.image, again.image)
    assert same(loaded.source, noise((37, 61), "RGBA"))
    assert loaded.report == inversion.report


def test_what_a_model_lacks_is_named_with_what_it_has(model: editkit.Backend, tmp_path: Path) -> None:
    other = editkit.load_model(str(stable_diffusion_folder(tmp_path, seed=1)))
    inversion = editkit.invert(noise((16, 16)), model=model, steps=2)
    with pytest.raises(editkit.InvalidParameter, match=f"{model.identity}.*{other.identity}"):
        editkit.reconstruct(inversion, model=other)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"stregnth": 0.5}, "did you mean 'strength'"),
        ({"strength": 1.5}, "strength=1.5 is not allowed"),
        ({"strength": float("nan")}, "strength=nan"),
        ({"strength": "much"}, "strength='much'"),
        ({"steps": 0}, "steps=0"),
        ({"steps": True}, "steps=True"),
        ({"seed": -1}, "seed=-1"),
        ({"sampler": "eular"}, "did you mean 'euler'"),
        ({"sampler": "ddim:eta=2"}, "eta=2"),
    ],
)
def test_wrong_parameters_are_named_before_any_model_is_loaded(params: dict[str, Any], said: str) -> None:
    with pytest.raises(editkit.EditkitError, match=said):
        editkit.apply("img2img", noise((8, 8)), model="no such model", **params)
