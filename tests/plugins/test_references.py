"""Instructions that refer to images: which images a model reads, and what recipes, masks and guidance make of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import editkit
from editkit import BadImage, InvalidParameter, MissingCapability
from editkit.cli import main
from editkit.editing.recipe import read_recipe
from editkit.images.png_metadata import encode_png
from editkit.model.references import ReferenceGuidance, References
from editkit.testing import BackendTests, ToyBackend, ToyEditBackend
from editkit.testing.suite import sample_image

SOURCE = sample_image((20, 14))
FIRST, SECOND = (Image.new("RGB", size, colour) for size, colour in (((30, 12), "red"), ((9, 40), "blue")))


class TestToyEditBackend(BackendTests):
    name = "toy-edit"

    @classmethod
    def make(cls) -> Any:
        return ToyEditBackend()


class TestToyEditBackendThatNeedsAnImage(BackendTests):
    name = "toy-edit-only"

    @classmethod
    def make(cls) -> Any:
        return ToyEditBackend(required=True)


def instruct(image: Any = SOURCE, model: Any = None, **params: Any) -> editkit.Result:
    values = {"instruction": "make it like the reference", "steps": 4, "seed": 1, **params}
    result: editkit.Result = editkit.apply("instruct", image, model=model or ToyEditBackend(), **values)
    return result


def sizes(model: ToyEditBackend) -> list[tuple[int, int]]:
    return [image.size for image in model.read]


# What a model reads


def test_the_edited_image_is_the_first_reference_and_all_have_their_own_size() -> None:
    model = ToyEditBackend()
    instruct(model=model, reference=[FIRST, SECOND], guidance=1.0)
    instruct(sample_image((90, 17)), model=model, reference=FIRST, guidance=1.0)
    assert sizes(model) == [SOURCE.size, FIRST.size, SECOND.size, (90, 17), FIRST.size]


def test_every_reference_changes_the_edit() -> None:
    edits = [instruct(reference=more).image.tobytes() for more in ((), FIRST, SECOND, [FIRST, SECOND])]
    assert len(set(edits)) == 4
    assert instruct(reference=[SECOND, FIRST]).image.tobytes() == edits[3]  # the toy takes the mean


def test_a_reference_is_read_like_any_image(tmp_path: Path) -> None:
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    FIRST.save(turned, exif=exif)
    deep = np.full((12, 30), 40_000, np.uint16)
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    model = ToyEditBackend(most=4)
    instruct(model=model, reference=[turned, deep, clear], guidance=1.0)
    assert [image.mode for image in model.read] == ["RGB"] * 4
    assert sizes(model)[1:] == [(12, 30), (30, 12), (8, 8)]
    assert model.read[2].getpixel((0, 0)) == (156, 156, 156)
    assert model.read[3].getpixel((0, 0)) == (255, 255, 255)


def test_images_are_fitted_to_what_a_model_reads() -> None:
    reads = References("none", shortest_side=64, longest_ratio=8)
    small, large = reads.fit([Image.new("RGB", (10, 40)), Image.new("RGB", (80, 70))], "m")
    assert (small.size, large.size) == ((64, 256), (80, 70))
    with pytest.raises(
        InvalidParameter, match=r"reference 1 is 9 x 90 pixels: the model 'm' reads images of at most 8:1"
    ):
        reads.fit([large, Image.new("RGB", (9, 90))], "m")


@pytest.mark.parametrize(
    ("model", "reference", "error", "message"),
    [
        (ToyEditBackend(most=1), [FIRST], InvalidParameter, "beside the edited image the model 'toy' reads none"),
        (ToyEditBackend(), [FIRST] * 3, InvalidParameter, "reference: 3 given, but .* reads at most 2"),
        (ToyBackend(), [FIRST], MissingCapability, "reference= needs references; the model 'toy' provides text"),
        (ToyEditBackend(), ["no.png"], BadImage, "reference 'no.png' cannot be read"),
        (ToyEditBackend(), [FIRST, 5], BadImage, "reference 2 .*int"),
        (ToyEditBackend(), [FIRST] * 17, InvalidParameter, "at most 16 images are allowed"),
    ],
)
def test_wrong_references_are_refused_by_name(
    model: Any, reference: Sequence[Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        instruct(model=model, reference=reference)


def test_an_edit_by_inversion_has_no_reference() -> None:
    for method, message in (("inversion", "inversion has no reference"), (None, "the edit is by inversion")):
        with pytest.raises(InvalidParameter, match=message):
            instruct(source="a red apple", target="a pear", method=method, reference=FIRST)


# A model that draws nothing without an image


def test_a_model_that_needs_an_image_reads_the_source_in_every_edit_of_one_image() -> None:
    for operation, params in {
        "prompt-edit": {"source": "a red apple", "target": "a pear", "guidance": 3.0},
        "img2img": {"prompt": "a pear"},
    }.items():
        model = ToyEditBackend(required=True)
        result = editkit.apply(operation, SOURCE, model=model, steps=3, seed=0, cache=False, **params)
        assert result.image.tobytes() != SOURCE.tobytes()
        assert {image.tobytes() for image in model.read} == {SOURCE.tobytes()}
        assert result.report.recon_psnr == result.report.vae_psnr


def test_what_is_erased_is_in_no_reference() -> None:
    """A model that needs an image reads the surroundings in place of pixels that are sampled from noise."""
    mask = Image.new("L", SOURCE.size)
    mask.paste(255, (4, 4, 16, 10))
    other = SOURCE.copy()
    other.paste("lime", (5, 5, 15, 9))
    values = {"prompt": "a pear", "mask": mask, "steps": 3, "seed": 0}
    one, two = (
        editkit.apply("inpaint", image, model=ToyEditBackend(required=True), **values) for image in (SOURCE, other)
    )
    assert one.image.tobytes() == two.image.tobytes()


def test_a_model_that_needs_an_image_is_refused_without_one() -> None:
    model = ToyEditBackend(required=True)
    for operation, image in (("generate", None), ("interpolate", [SOURCE, SOURCE])):
        with pytest.raises(MissingCapability, match=f"draws nothing without: {operation} needs another model"):
            editkit.apply(operation, image, model=model, **({} if image else {"prompt": "a pear"}))


# Guidance


def test_the_family_declares_how_many_estimates_guide() -> None:
    samples: dict[ReferenceGuidance, int] = {"two estimates": 2, "three estimates": 3, "none": 1}
    for guidance, count in samples.items():
        scales = {} if guidance == "none" else {"guidance": 3.0}
        report = instruct(model=ToyEditBackend(guidance=guidance), **scales).report
        assert report.network_samples == 4 * count
        assert report.warnings == ()


def test_two_estimates_have_the_image_in_both() -> None:
    """Guidance by two estimates is that by three with an image guidance of 1, whose first has no weight."""
    two = instruct(guidance=3.0, negative_prompt="a pear").latents
    three = instruct(
        model=ToyEditBackend(guidance="three estimates"), guidance=3.0, image_guidance=1.0, negative_prompt="a pear"
    ).latents
    assert two is not None and three is not None
    assert torch.equal(two, three)


def test_a_scale_that_a_family_does_not_have_is_refused() -> None:
    for guidance, params, message in (
        ("two estimates", {"image_guidance": 1.5}, "image_guidance=1.5 needs .* computes two, with the image in both"),
        ("none", {"image_guidance": 1.5}, "image_guidance=1.5 needs .* computes one"),
        ("none", {"guidance": 3.0}, "guidance=3 needs .* distilled to one"),
    ):
        with pytest.raises(MissingCapability, match=message):
            instruct(model=ToyEditBackend(guidance=guidance), **params)  # type: ignore[arg-type]


# Promises


@pytest.mark.parametrize("size", [(2, 1), (37, 61), (300, 7)])
def test_an_instruction_with_references_stays_within_its_mask(size: tuple[int, int]) -> None:
    image, mask = sample_image(size, "RGBA"), Image.new("L", size)
    mask.paste(255, (0, 0, (size[0] + 1) // 2, size[1]))
    result = instruct(image, mask=mask, reference=FIRST, model=ToyEditBackend(longest_ratio=100))
    assert result.image.size == size and result.image.mode == "RGBA"
    assert result.report.untouched_max_diff == 0


def test_a_long_image_is_edited_as_a_whole() -> None:
    """Windows would each show the whole image that the model reads."""
    report = instruct(sample_image((600, 75))).report
    assert report.working_size == (45, 6)  # the area of 16 x 16 pixels
    assert report.warnings == ()


# Recipes


def test_a_recipe_names_references_by_digest_and_a_replay_needs_them(tmp_path: Path) -> None:
    FIRST.save(tmp_path / "first.png")
    SECOND.save(tmp_path / "second.png")
    files = [tmp_path / "first.png", tmp_path / "second.png"]
    result = instruct(reference=files)
    recipe, _ = read_recipe(result.encoded(".png"))
    assert list(recipe.steps[0].images) == ["reference-1", "reference-2"]
    assert "first.png" not in recipe.model_dump_json() and recipe.steps[0].params.get("reference") is None
    model = ToyEditBackend()
    with pytest.raises(InvalidParameter, match=r"reference-2 \(--set reference=FILE\)"):
        editkit.replay(result.encoded(".png"), source=SOURCE, model=model)
    again = editkit.replay(result.encoded(".png"), source=SOURCE, model=model, reference=files)
    assert again.image.tobytes() == result.image.tobytes()
    assert again.report.warnings == ()
    embedded = editkit.replay(result.encoded(".png", recipe="full"), model=model)
    assert embedded.image.tobytes() == result.image.tobytes()
    fewer = editkit.replay(result.encoded(".png"), source=SOURCE, model=model, reference=files[0])
    assert any("reference-2 of instruct is another image (none)" in warning for warning in fewer.report.warnings)


def test_a_path_of_a_reference_in_a_recipe_is_refused() -> None:
    text = instruct().recipe.model_dump_json()
    content = json.loads(text)
    content["steps"][0]["params"]["reference"] = ["/etc/hostname"]
    with pytest.raises(InvalidParameter, match="no path is taken from a file: pass reference="):
        editkit.replay(encode_png(SOURCE, recipe=json.dumps(content)), source=SOURCE, model=ToyEditBackend())


def test_the_option_is_repeated_for_several_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, image in {"a": SOURCE, "b": sample_image((8, 8)), "first": FIRST, "second": SECOND}.items():
        image.save(tmp_path / f"{name}.png")
    model = ToyEditBackend()
    monkeypatch.setattr("editkit.model.loading.resolve_model", lambda *args, **kwargs: model)
    monkeypatch.setattr("editkit.editing.replay.resolve_model", lambda *args, **kwargs: model)
    monkeypatch.chdir(tmp_path)
    references = ["--reference", "first.png", "--reference", "second.png"]
    arguments = ["instruct", "a.png", "b.png", "make it red", *references, "-o", "out/", "--steps", "2", "--seed", "1"]
    arguments += ["--guidance", "1"]
    outcome = CliRunner().invoke(main, arguments)
    assert outcome.exit_code == 0, outcome.output
    assert sizes(model) == [SOURCE.size, FIRST.size, SECOND.size, (8, 8), FIRST.size, SECOND.size]
    settings = ["--set", "reference=first.png", "--set", "reference=second.png", "-o", "again.png", "-m", "emoji"]
    outcome = CliRunner().invoke(main, ["replay", "out/a.png", "--source", "a.png", *settings])
    assert outcome.exit_code == 0, outcome.output
    assert (tmp_path / "again.png").is_file()
    with Image.open("again.png") as again, Image.open("out/a.png") as first:
        assert again.tobytes() == first.tobytes()
