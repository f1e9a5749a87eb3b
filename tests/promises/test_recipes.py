"""A file holds no image that it does not show, and is made again from it and from the images that it names."""

from __future__ import annotations

import dataclasses as dc
import functools
import io
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from editkit_control import ControlParams
from PIL import Image

import editkit
from editkit import BadFile, InvalidParameter, UnknownName
from editkit.editing.recipe import ImageReference, read_recipe
from editkit.images.image_params import StoredImageParam, open_image_params
from editkit.images.png_metadata import encode_png
from editkit.images.recipes.stripping import strip_recipe
from editkit.images.stored.digest import image_digest
from editkit.registry.paths import without_folder
from editkit.testing import ToyBackend

FORMATS = (".png", ".jpg", ".webp", ".tif", ".avif")
SIZE = (96, 64)
BOX = (24, 16, 72, 48)


def noise(mode: str = "RGB", size: tuple[int, int] = SIZE, seed: int = 0) -> Image.Image:
    shape = (size[1], size[0], len(mode)) if len(mode) > 1 else size[::-1]
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def mask() -> Image.Image:
    image = Image.new("L", SIZE)
    image.paste(255, BOX)
    return image


@functools.cache
def model() -> ToyBackend:
    return ToyBackend()


@functools.cache
def inpainted() -> editkit.Result:
    result: editkit.Result = editkit.apply(
        "inpaint", noise(), model=model(), mask=mask(), prompt="a", steps=2, seed=3, resample=1
    )
    return result


def again(data: Any, **arguments: Any) -> editkit.Result:
    return editkit.replay(data, model=model(), **arguments)


def pixels(result: editkit.Result) -> bytes:
    return result.image.tobytes()


def decompressed(data: bytes) -> bytes:
    """Bytes of a file, and of everything in it that zlib compressed."""
    parts = [data]
    for match in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", data):
        decoder = zlib.decompressobj()
        try:
            parts.append(decoder.decompress(data[match.start() :], 10**7))
        except zlib.error:
            continue
    return b"\0".join(parts)


def erased_rows() -> list[bytes]:
    """Rows of the source that the mask erases, as an uncompressed copy of any kind would hold them."""
    erased = np.asarray(noise().crop(BOX))
    return [*(row.tobytes() for row in erased), *(row[:, 0].tobytes() for row in erased)]


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_output_holds_no_byte_of_what_was_erased(suffix: str) -> None:
    content = decompressed(inpainted().encoded(suffix))
    assert not any(row in content for row in erased_rows())
    shown = decompressed(inpainted().encoded(".png", recipe="full"))
    assert any(row in shown for row in erased_rows())  # the search finds what is there


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_thumbnail_of_the_source_does_not_go_along(suffix: str) -> None:
    """Cameras write one into EXIF; it shows what the edit erased."""
    preview = io.BytesIO()
    noise(size=(32, 32), seed=9).save(preview, "JPEG")
    tiff = b"II*\0\x08\0\0\0" + b"\0\0" + (14).to_bytes(4, "little")
    entries = [(0x0103, 3, 6), (0x0201, 4, 14 + 2 + 3 * 12 + 4), (0x0202, 4, len(preview.getvalue()))]
    tiff += len(entries).to_bytes(2, "little")
    tiff += b"".join(
        tag.to_bytes(2, "little") + kind.to_bytes(2, "little") + (1).to_bytes(4, "little") + value.to_bytes(4, "little")
        for tag, kind, value in entries
    )
    exif = b"Exif\0\0" + tiff + b"\0\0\0\0" + preview.getvalue()
    source = io.BytesIO()
    noise().save(source, "JPEG", exif=exif)
    assert preview.getvalue() in source.getvalue()
    result = editkit.apply("inpaint", source.getvalue(), model=model(), mask=mask(), steps=1, seed=3)
    assert preview.getvalue()[-80:-20] not in decompressed(result.encoded(suffix))


def test_a_recipe_adds_little_to_a_file() -> None:
    plain = io.BytesIO()
    inpainted().image.save(plain, "PNG")
    assert len(inpainted().encoded(".png")) <= 1.3 * len(plain.getvalue())


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_source_gives_the_same_pixels_again(suffix: str) -> None:
    copy = io.BytesIO()
    noise().save(copy, "WEBP", lossless=True)
    repeated = again(inpainted().encoded(suffix), source=copy.getvalue(), mask=mask())
    assert pixels(repeated) == pixels(inpainted())
    assert repeated.report.warnings == ()


def test_an_embedded_file_and_a_result_replay_alone() -> None:
    assert pixels(again(inpainted().encoded(".png", recipe="full"))) == pixels(inpainted())
    assert pixels(again(inpainted())) == pixels(inpainted())


@pytest.mark.parametrize("frames", [".gif", ".webp"])
def test_an_animation_holds_its_recipe(frames: str) -> None:
    pair = (noise(size=(16, 16)), noise("RGBA", size=(16, 16), seed=1))
    result = editkit.apply("interpolate", pair, model=model(), source="a", target="b", frames=3, steps=2, seed=1)
    data = result.encoded(frames)
    assert Image.open(io.BytesIO(data)).n_frames == 3  # type: ignore[attr-defined]
    assert pixels(again(data, source=pair)) == pixels(result)
    with pytest.raises(InvalidParameter, match="source 1 is another image"):
        again(data, source=pair[::-1])
    with pytest.raises(InvalidParameter, match="source: 1 given, but the recipe of interpolate takes 2"):
        again(data, source=pair[0])


def test_a_wrong_or_missing_image_is_named() -> None:
    data, wrong = inpainted().encoded(".png"), noise(seed=1)
    digests = [image_digest(image)[:12] for image in (noise(), wrong, mask())]
    with pytest.raises(InvalidParameter, match=f"source is another image.*{digests[1]}.*{digests[0]}"):
        again(data, source=wrong, mask=mask())
    with pytest.raises(InvalidParameter, match=rf"96 x 64 pixels.*{digests[0]}.*{digests[2]}.*--source.*--set mask="):
        again(data)
    with pytest.raises(InvalidParameter, match=f"needs mask of inpaint.*{digests[2]}") as refused:
        again(data, source=noise())
    assert "\n" not in str(refused.value)
    other = again(data, source=noise(), mask=Image.new("L", SIZE, 255))
    assert digests[2] in other.report.warnings[-1] and "another image" in other.report.warnings[-1]


def test_the_digest_is_of_pixels_and_not_of_a_file() -> None:
    """Size, mode, depth and profile belong to it; the file format does not."""
    deep = np.asarray(noise(), np.uint16) * 257
    images = [
        noise(),
        noise(seed=1),
        noise().resize((64, 96)),
        noise().convert("RGBA"),
        mask(),
        editkit.open_image(deep),
    ]
    assert len({image_digest(image) for image in images}) == len(images)
    for suffix, options in ((".png", {}), (".webp", {"lossless": True}), (".tif", {})):
        copy = io.BytesIO()
        noise().save(copy, Image.registered_extensions()[suffix], **options)
        assert image_digest(editkit.open_image(copy.getvalue())) == image_digest(noise())


def test_settings_replace_parameters_of_one_step_or_of_all() -> None:
    steps = [("img2img", {"prompt": "a", "steps": 2, "seed": 1}), ("img2img", {"prompt": "b", "steps": 2, "seed": 2})]
    result = editkit.Pipeline(steps)(noise(), model=model())
    data = result.encoded(".png")

    def seeds(**settings: Any) -> list[int]:
        repeated = again(data, source=noise(), **settings)
        return [step.params["seed"] for step in repeated.recipe.steps]

    assert seeds() == [1, 2]
    assert seeds(set={"seed": 5}) == seeds(seed=5) == [5, 5]
    assert seeds(set={"2.seed": 5}) == [1, 5]
    assert seeds(set={"2.seed": 5, "seed": 4}) == [4, 5]
    for settings, words in (({"sede": 5}, "did you mean 'seed'"), ({"3.seed": 5}, "steps 1 to 2")):
        with pytest.raises(UnknownName, match=words):
            seeds(set=settings)
    with pytest.raises(InvalidParameter, match="seed=-1 is not allowed"):
        seeds(set={"2.seed": -1})


def test_a_changed_seed_without_effect_is_a_warning() -> None:
    """Of a file that holds every pixel; the noise of a sampler is an effect."""
    words: dict[str, Any] = {"source": "a", "target": "b", "steps": 2, "seed": 1}
    result = editkit.apply("prompt-edit", noise(), model=model(), **words)
    moving = editkit.Animation((noise(), noise(seed=1)), (100.0, 100.0))
    animated = editkit.apply_to_animation("prompt-edit", moving, model=model(), **words)

    def warned(data: Any, source: Any, **settings: Any) -> bool:
        warnings = again(data, source=source, set=settings).report.warnings
        return any("is that of the file: seed has no effect" in one for one in warnings)

    data = result.encoded(".png")
    assert warned(data, noise(), seed=5) and warned(result, noise(), seed=5)
    assert warned(animated.encoded(".webp"), moving, seed=5)
    assert not warned(data, noise(), seed=1) and not warned(data, noise())
    assert not warned(data, noise(), seed=5, sampler="ddim:eta=0.5")
    assert not warned(inpainted().encoded(".png", recipe="full"), None, seed=5)


@pytest.mark.parametrize("change", [{"instruction": "make it green"}, {"source": "a red pear"}], ids=str)
def test_a_target_by_default_follows_a_changed_instruction(change: dict[str, str]) -> None:
    words = {"instruction": "make it blue", "source": "a red apple", "steps": 2, "seed": 1}
    first = editkit.apply("instruct", noise(), model=model(), **words)
    other = editkit.apply("instruct", noise(), model=model(), **words | change)
    repeated = again(first, set=change)
    assert pixels(repeated) == pixels(other) != pixels(first)
    assert repeated.report.params["target"] == other.report.params["target"]
    given = editkit.apply("instruct", noise(), model=model(), **words, target="a blue hat")
    assert again(given, set=change).report.params["target"] == "a blue hat"


def test_a_negative_prompt_by_default_follows_a_changed_source_prompt() -> None:
    words = {"source": "a", "target": "b", "steps": 2, "guidance": 2.0, "seed": 1}
    first = editkit.apply("prompt-edit", noise(), model=model(), **words)
    other = editkit.apply("prompt-edit", noise(), model=model(), **{**words, "source": "c"})
    assert pixels(again(first, set={"source": "c"})) == pixels(other)


@pytest.mark.parametrize("suffix", [*FORMATS, ".gif"])
def test_stripping_leaves_pixels_and_removes_the_recipe(suffix: str) -> None:
    created = inpainted()
    if suffix == ".gif":
        pair = (noise(size=(16, 16)), noise(size=(16, 16), seed=1))
        created = editkit.apply("interpolate", pair, model=model(), source="a", target="b", frames=2, steps=1, seed=1)
    data, plain = created.encoded(suffix), created.encoded(suffix, recipe="none")
    stripped = strip_recipe(data)
    assert Image.open(io.BytesIO(stripped)).tobytes() == Image.open(io.BytesIO(data)).tobytes()
    assert b"editkit" not in stripped
    if suffix not in (".tif", ".avif"):
        assert len(stripped) <= len(plain) + 18  # bytes of the header of an extended WebP
    for nothing in (stripped, plain):
        with pytest.raises(BadFile, match="no editkit recipe"):
            read_recipe(nothing)
        with pytest.raises(BadFile, match="nothing to remove"):
            strip_recipe(nothing)


def test_embedded_images_are_stripped_with_the_recipe() -> None:
    assert strip_recipe(inpainted().encoded(".png", recipe="full")) == inpainted().encoded(".png", recipe="none")


def test_xmp_of_the_source_stays_beside_the_recipe() -> None:
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Label="kept"/>'
        b"</rdf:RDF></x:xmpmeta>"
    )
    source = io.BytesIO()
    noise().save(source, "WEBP", lossless=True, xmp=packet)
    result = editkit.apply("img2img", source.getvalue(), model=model(), prompt="a", steps=1, seed=1)
    for suffix in FORMATS[1:]:
        data = result.encoded(suffix)
        assert pixels(again(data, source=source.getvalue())) == pixels(result)
        for file in (data, strip_recipe(data)):
            assert b'xmp:Label="kept"' in Image.open(io.BytesIO(file)).info["xmp"]


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".gif"])
def test_only_a_png_embeds_images(suffix: str) -> None:
    with pytest.raises(InvalidParameter, match=r"recipe='full' embeds source and masks.*save as \.png"):
        inpainted().encoded(suffix, recipe="full")
    with pytest.raises(InvalidParameter, match="recipe='most' is not allowed"):
        inpainted().encoded(".png", recipe="most")  # type: ignore[arg-type]


def test_a_recipe_that_a_jpeg_cannot_hold_is_a_warning() -> None:
    result = editkit.apply("img2img", noise(), model=model(), prompt="a" * 70_000, steps=1, seed=1)
    data = result.encoded(".jpg")
    assert "JPEG does not hold the recipe" in result.report.warnings[-1]
    with pytest.raises(BadFile, match="no editkit recipe"):
        read_recipe(data)
    assert pixels(again(result.encoded(".webp"), source=noise())) == pixels(result)
    assert not any("recipe" in warning for warning in result.report.warnings)


def test_a_prompt_that_no_recipe_holds_is_refused_before_the_model_is_loaded() -> None:
    long = "\u00e9" * 500_000
    with pytest.raises(
        InvalidParameter,
        match=r"img2img: the recipe would have 100\d+ bytes.*shorten prompt, which has 500000 characters",
    ):
        editkit.apply("img2img", noise(), model="no such model", prompt=long)
    with pytest.raises(InvalidParameter, match="the pipeline: the recipe would have"):
        editkit.Pipeline([("img2img", {"prompt": long[:300_000]}), ("img2img", {"prompt": long[:300_000]})])


def test_the_depth_and_the_profile_of_an_embedded_source_are_kept() -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (16, 16, 3), dtype=np.uint16)
    result = editkit.apply("img2img", deep, model=model(), prompt="a", steps=1, seed=1)
    for repeated in (again(result.encoded(".png", recipe="full")), again(result.encoded(".png"), source=deep)):
        assert np.array_equal(repeated.levels, result.levels)
    with pytest.raises(InvalidParameter, match=r"16 x 16 pixels, RGB, 8 bit.*16 x 16 pixels, RGB, 16 bit"):
        again(result.encoded(".png"), source=(deep >> 8).astype(np.uint8))


def test_files_of_schema_3_replay_alone() -> None:
    """They embed their images, count the sources, and list image parameters by name."""
    written = json.loads(inpainted().recipe.model_dump_json())
    old = written | {"schema_version": 3, "sources": 1}
    (step,) = old["steps"]
    step["pictures"] = list(step.pop("images"))

    def file(recipe: dict[str, Any]) -> bytes:
        return encode_png(inpainted().image, recipe=json.dumps(recipe), attachments=inpainted().attachments)

    assert pixels(again(file(old))) == pixels(inpainted())
    for sources in (1_000_000_000, -1, True, "1", [1]):
        with pytest.raises(BadFile, match="sources: a number from 0 to 2"):
            again(file(old | {"sources": sources}))
    with pytest.raises(BadFile, match="'source-1' is missing"):
        again(file(old | {"sources": 2}))


def test_an_embedded_image_that_was_exchanged_is_found() -> None:
    result = dc.replace(inpainted(), attachments=inpainted().attachments | {"source-0": noise(seed=1)})
    with pytest.raises(BadFile, match="the embedded image 'source-0' is another"):
        again(result.encoded(".png", recipe="full"))
    result = dc.replace(inpainted(), attachments=inpainted().attachments | {"more": noise(seed=1)})
    with pytest.raises(BadFile, match="embeds an image 'more' that the recipe does not name"):
        again(result.encoded(".png", recipe="full"))


def test_files_name_no_folder_of_this_machine(
    tiny_model: editkit.Backend, tiny_controlnet: Path, tmp_path: Path
) -> None:
    """Neither of a model nor of a ControlNet, as a parameter or among the options of a name."""
    folder = str(tiny_controlnet)
    home = str(Path(folder).parent)
    attached = {"steps": 2, "attach": (f"controlnet:weights={folder},scale=0.5",)}
    results = [
        editkit.apply("control", noise(size=(16, 16)), model=tiny_model, steps=1, prompt="a", controlnet=folder),
        editkit.apply("img2img", noise(size=(16, 16)), model=tiny_model, **attached),
    ]
    inversion = editkit.invert(noise(size=(16, 16)), model=tiny_model, **attached)
    files = [result.encoded(suffix) for result in results for suffix in (".png", ".jpg")]
    files.append(inversion.save(tmp_path / "x.safetensors").read_bytes())
    for data in files:
        assert home.encode() not in data and str(tiny_model.name).encode() not in data
    (step,) = results[1].recipe.steps
    assert step.params["attach"] == [f"controlnet:weights={Path(folder).name},scale=0.5"]
    assert step.drawn_by.model == Path(tiny_model.name).name


def test_a_mask_of_one_step_masks_no_other() -> None:
    steps = [("img2img", {"steps": 1, "seed": 1}), ("img2img", {"steps": 1, "seed": 2, "mask": mask()})]
    result = editkit.Pipeline(steps)(noise(), model=model())
    for name in ("mask", "2.mask"):
        repeated = again(result.encoded(".png"), source=noise(), set={name: mask()})
        assert pixels(repeated) == pixels(result) and repeated.report.warnings == ()
    with pytest.raises(InvalidParameter, match=r"--set 2\.mask=FILE"):
        again(result.encoded(".png"), source=noise())
    added = again(result, set={"1.mask": mask()})
    assert "mask of img2img is another image" in added.report.warnings[-1] and "(none)" in added.report.warnings[-1]


def test_a_control_with_a_file_of_one_step_acts_on_no_other(tiny_model: editkit.Backend, tiny_controlnet: Path) -> None:
    attach = [f"controlnet:weights={tiny_controlnet}"]
    steps = [("img2img", {"steps": 1, "seed": 1, "attach": attach}), ("img2img", {"steps": 1, "seed": 2})]
    result = editkit.Pipeline(steps)(noise(size=(16, 16)), model=tiny_model)
    for name in ("attach", "1.attach"):
        repeated = editkit.replay(result, model=tiny_model, set={name: attach})
        assert pixels(repeated) == pixels(result) and repeated.report.warnings == ()


def test_a_size_that_was_changed_before_an_embedded_mask_is_named() -> None:
    large = Image.new("L", (SIZE[0] + 8, SIZE[1]), 255)
    steps = [("outpaint", {"right": 8, "steps": 1}), ("img2img", {"steps": 1, "mask": large})]
    result = editkit.Pipeline(steps)(noise(), model=model(), seed=1)
    message = "the mask in the recipe has 104 x 64 pixels, and its image 100 x 64: pass a mask of that size"
    with pytest.raises(BadFile, match=message):
        again(result, set={"right": 4})
    changed = again(result, set={"right": 4, "mask": large.resize((SIZE[0] + 4, SIZE[1]))})
    assert changed.image.size == (100, 64)


def test_names_leave_without_their_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "mine").mkdir(parents=True)
    kept = ("emoji", "org/name", "org/name@v1.5", "model.safetensors")
    assert [without_folder(name) for name in kept] == list(kept)
    cut = {
        "models/mine": "mine",
        "/home/me/x/": "x",
        "~/sd": "sd",
        "./sd": "sd",
        "C:\\Users\\me\\sd": "sd",
        "a/b/c": "c",
    }
    assert {name: without_folder(name) for name in cut} == cut
    assert without_folder(".") == tmp_path.name and without_folder("/x/\udcff") == "?"


def test_an_image_of_one_row_has_a_reference() -> None:
    assert ImageReference.of(Image.new("L", (70_000, 1))).width == 70_000


def test_a_source_of_another_size_is_named_before_its_mask() -> None:
    with pytest.raises(InvalidParameter, match=r"source is another image.*10 x 10 pixels"):
        again(inpainted().encoded(".png"), source=noise(size=(10, 10)), mask=mask())


@pytest.mark.parametrize("namespace", ["urn:editkit:xmp:1:", "urn:editkit:xmp:1:/"])
def test_a_recipe_that_another_program_wrote_anew_is_read_and_not_stripped(namespace: str) -> None:
    """ExifTool and others write properties as attributes, under prefixes of their own; Exiv2 ends namespaces in "/"."""
    text = inpainted().recipe.model_dump_json().replace("&", "&amp;").replace('"', "&quot;")
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description xmlns:e="{namespace}" e:recipe="{text}"/></rdf:RDF></x:xmpmeta>'
    )
    file = io.BytesIO()
    noise().save(file, "WEBP", xmp=packet.encode())
    assert read_recipe(file.getvalue())[0] == inpainted().recipe
    with pytest.raises(BadFile, match="another program wrote anew"):
        strip_recipe(file.getvalue())


XMP: dict[str, tuple[bytes, str]] = {
    "two recipes": (b"<e:recipe>{}</e:recipe><e:recipe>{}</e:recipe>", "2 editkit recipes"),
    "entities": (b"<!DOCTYPE x []><e:recipe>{}</e:recipe>", "editkit recipe"),
    "no XML": (b"<e:recipe>{}", "no XML"),
    "no JSON": (b"<e:recipe>hello</e:recipe>", "the recipe is damaged"),
    "a list": (b"<e:recipe>[]</e:recipe>", "the recipe is damaged"),
    "nothing": (b"<e:recipe/>", "the recipe is damaged"),
    "nested": (b"<e:recipe>" + b"[" * 900_000 + b"</e:recipe>", "the recipe is damaged"),
    "long": (b"<e:recipe>" + b" " * 1_000_001 + b"</e:recipe>", "did not write"),
}


@pytest.mark.parametrize("case", XMP)
def test_hostile_xmp_is_one_clear_error(case: str) -> None:
    content, words = XMP[case]
    file = io.BytesIO()
    noise(size=(4, 4)).save(file, "WEBP", xmp=b'<a xmlns:e="urn:editkit:xmp:1:">' + content + b"</a>")
    with pytest.raises(BadFile, match=words) as refused:
        read_recipe(file.getvalue())
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500


def test_a_colour_map_in_a_file_stays_in_colour() -> None:
    """Condition maps may be grey or have colours; a mask is grey."""
    opened = open_image_params(ControlParams(control_image=noise()), noise())[0]
    stored = StoredImageParam(opened.control_image)
    again = open_image_params(ControlParams(control_image=stored), noise())[0]
    assert again.control_image.mode == "RGB" and again.control_image.tobytes() == opened.control_image.tobytes()
