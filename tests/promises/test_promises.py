"""The promises of every edit, over sizes and kinds of images, on real diffusers classes with random weights."""

from __future__ import annotations

import dataclasses as dc
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import editkit
from editkit.registry.registry import installed
from editkit.testing.tiny import stable_diffusion_folder

SIZES = [(1, 1), (7, 5), (37, 61), (64, 64), (300, 200)]
EDITS: dict[str, dict[str, Any]] = {
    "img2img": {"prompt": "blue", "strength": 0.7},
    "prompt-edit": {"source": "red", "target": "blue"},
    "flow-edit": {"source": "red", "target": "blue"},
    "inpaint": {"prompt": "blue"},
    "instruct": {"instruction": "make it blue", "source": "red apple"},
    "control": {"prompt": "blue", "strength": 0.7},
}
NOTHING: dict[str, dict[str, Any]] = {
    "img2img": {"prompt": "blue", "strength": 0.0},
    "prompt-edit": {"source": "red", "target": "red", "guidance": 7.5},
    "flow-edit": {"source": "red", "target": "red", "guidance": 7.5, "averages": 2},
    "inpaint": {"prompt": "blue", "strength": 0.0},
    "instruct": {"instruction": "make it red", "source": "red apple", "guidance": 7.5},
    "control": {"prompt": "blue", "strength": 0.7, "control_scale": 0.0},
    "outpaint": {},
}
MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16")


@pytest.fixture(scope="module")
def arguments(tiny_controlnet: Path) -> dict[str, Any]:
    """Arguments that an operation needs on this machine beside its parameters."""
    return {"control": {"controlnet": str(tiny_controlnet)}}


def noise(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """An image of random pixels in the given mode."""
    random = np.random.default_rng(0)
    if mode == "I;16":
        return Image.fromarray(random.integers(0, 65536, (size[1], size[0]), dtype=np.uint16))
    image = Image.fromarray(random.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8))
    return image if mode == "RGBA" else image.convert("RGB" if mode == "P" else mode).convert(mode)


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.mode == other.mode and np.array_equal(np.asarray(one), np.asarray(other))


def masks(size: tuple[int, int]) -> dict[str, Image.Image]:
    """Empty, full, one pixel, half and soft masks of a size."""
    kinds = {name: np.zeros((size[1], size[0]), np.uint8) for name in ("empty", "full", "pixel", "half", "soft")}
    kinds["full"][:] = 255
    kinds["pixel"][size[1] // 2, size[0] // 3] = 255
    kinds["half"][: (size[1] + 1) // 2] = 255
    kinds["soft"][:] = np.linspace(0, 255, size[0])
    return {name: Image.fromarray(levels) for name, levels in kinds.items()}


@pytest.mark.parametrize("operation", EDITS)
@pytest.mark.parametrize(
    "size",
    [(1, 1), (37, 61), *(pytest.param(size, marks=pytest.mark.slow) for size in ((64, 64), (300, 200)))],
    ids=str,
)
def test_pixels_outside_any_mask_are_those_of_any_kind_of_source(
    tiny_model: editkit.Backend, arguments: dict[str, Any], operation: str, size: tuple[int, int]
) -> None:
    for mode, (kind, mask) in itertools.product(("RGB", "RGBA", "L", "P"), masks(size).items()):
        every = size == (37, 61) and operation in ("img2img", "inpaint")  # the others lay back in the same way
        if not every and mode != "RGB" and (mode, kind) != ("RGBA", "soft"):
            continue
        records = editkit.open_image(noise(size, mode))
        params = {"steps": 2, "seed": 0, **EDITS[operation], **arguments.get(operation, {})}
        result = editkit.apply(operation, noise(size, mode), model=tiny_model, mask=mask, **params)
        assert result.image.size == size
        assert result.image.mode == records.mode
        assert result.report.untouched_max_diff == (None if mask.getextrema()[0] else 0), (mode, kind)
        kept = np.asarray(mask) == 0
        assert np.array_equal(np.asarray(result.image)[kept], np.asarray(records)[kept]), (mode, kind)
        changed = not same(result.image, records)
        assert changed or kind == "empty" or max(size) == 1 or (kind == "pixel" and mode == "RGBA"), (mode, kind)


@pytest.mark.parametrize("operation", NOTHING)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_an_edit_that_changes_nothing_gives_the_source(
    tiny_model: editkit.Backend, operation: str, size: tuple[int, int]
) -> None:
    more = {"mask": Image.new("L", size, 255)} if operation == "inpaint" else {}
    result = editkit.apply(operation, noise(size), model=tiny_model, steps=3, **more, **NOTHING[operation])
    assert same(result.image, noise(size))


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_edited_as_it_is_displayed(tiny_model: editkit.Backend, mode: str) -> None:
    source = noise((40, 24), mode)
    records = editkit.open_image(source)
    nothing = editkit.apply("prompt-edit", source, model=tiny_model, steps=2, source="red", target="red")
    edited = editkit.apply("prompt-edit", source, model=tiny_model, steps=2, source="red", target="blue")
    assert same(nothing.image, records)
    assert edited.image.mode == records.mode
    if records.mode == "RGBA":
        assert same(edited.image.getchannel("A"), records.getchannel("A"))


@pytest.mark.parametrize("operation", [*EDITS, "generate"])
def test_the_same_seed_gives_the_same_pixels_and_so_does_the_recipe(
    tiny_model: editkit.Backend, arguments: dict[str, Any], operation: str, tmp_path: Path
) -> None:
    params = {"steps": 3, "seed": 5, "sampler": "ddpm", **EDITS.get(operation, {"prompt": "red", "width": 37})}
    pictures = () if operation == "generate" else (noise((37, 61), "RGBA"),)
    params |= arguments.get(operation, {}) | ({"mask": masks((37, 61))["soft"]} if operation == "inpaint" else {})
    first = editkit.apply(operation, *pictures, model=tiny_model, **params)
    second = editkit.apply(operation, *pictures, model=tiny_model, **params)
    files = arguments.get(operation, {}) | ({"mask": params["mask"]} if "mask" in params else {})
    source = pictures[0] if pictures else None
    again = editkit.replay(first.save(tmp_path / "first.png"), source=source, model=tiny_model, **files)
    assert same(first.image, second.image)
    assert same(first.image, again.image)
    assert not again.report.warnings


def test_a_masked_pipeline_replays_from_its_own_file(tiny_model: editkit.Backend, tmp_path: Path) -> None:
    mask = Image.linear_gradient("L").resize((37, 61))
    steps = [
        ("img2img", {**EDITS["img2img"], "mask": mask, "feather": 4.0, "steps": 3}),
        ("prompt-edit", {**EDITS["prompt-edit"], "steps": 2}),
    ]
    result = editkit.Pipeline(steps)(noise((37, 61)), model=tiny_model, seed=3)
    again = editkit.replay(result.save(tmp_path / "made.png", recipe="full"), model=tiny_model, cache=False)
    assert same(result.image, again.image)
    assert result.report.network_calls == again.report.network_calls


@pytest.mark.slow
@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_exact_inverters_reach_the_bound_of_the_autoencoder(tiny_model: editkit.Backend, guidance: float) -> None:
    for name, spec in editkit.inverters().items():
        if spec.exact:
            inversion = editkit.invert(noise((64, 64)), model=tiny_model, prompt="red", method=name, steps=5)
            report = editkit.reconstruct(inversion, model=tiny_model, guidance=guidance).report
            assert report.recon_psnr == pytest.approx(report.vae_psnr, abs=0.05), name


def test_interpolation_begins_and_ends_with_the_given_images(tiny_model: editkit.Backend) -> None:
    first, second = noise((37, 61)), noise((37, 61)).transpose(Image.Transpose.ROTATE_180)
    result = editkit.apply("interpolate", (first, second), model=tiny_model, frames=3, steps=3)
    assert len(result.frames) == 3
    assert same(result.frames[0], first)
    assert same(result.frames[-1], second)


def test_an_inversion_file_holds_all_that_a_replay_needs(tiny_model: editkit.Backend, tmp_path: Path) -> None:
    inversion = editkit.invert(noise((37, 61), "RGBA"), model=tiny_model, prompt="red", steps=4)
    loaded = editkit.Inversion.load(inversion.save(tmp_path / "x.safetensors"))
    here, there = (editkit.reconstruct(one, model=tiny_model) for one in (inversion, loaded))
    again = editkit.replay(here.save(tmp_path / "back.png", recipe="full"), model=tiny_model)
    assert same(here.image, there.image)
    assert same(here.image, again.image)
    assert same(loaded.source, noise((37, 61), "RGBA"))
    assert inversion.report is not None and loaded.report == dc.replace(inversion.report, model="tiny")


def test_the_error_names_both_models_of_a_mismatch(tiny_model: editkit.Backend, tmp_path: Path) -> None:
    other = editkit.load_model(str(stable_diffusion_folder(tmp_path, seed=1)))
    inversion = editkit.invert(noise((16, 16)), model=tiny_model, steps=2)
    with pytest.raises(editkit.InvalidParameter, match=f"{tiny_model.identity}.*{other.identity}"):
        editkit.reconstruct(inversion, model=other)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"stregnth": 0.5}, "did you mean 'strength'"),
        ({"strength": 1.5}, "strength=1.5 is not allowed: .*; allowed: 0 to 1$"),
        ({"strength": float("nan")}, "strength=nan .*; allowed: 0 to 1$"),
        ({"strength": "much"}, "strength='much' .*; allowed: 0 to 1$"),
        ({"steps": 0}, "steps=0 .*; allowed: 1 to 1000$"),
        ({"steps": True}, "steps=True"),
        ({"seed": -1}, "seed=-1"),
        ({"sampler": "eular"}, "did you mean 'euler'"),
        ({"sampler": "ddim:eta=2"}, "eta=2"),
    ],
)
def test_wrong_parameters_are_named_before_any_model_is_loaded(params: dict[str, Any], message: str) -> None:
    with pytest.raises(editkit.EditkitError, match=message):
        editkit.apply("img2img", noise((8, 8)), model="no such model", **params)


def test_a_replay_takes_no_folder_from_a_file(
    tiny_model: editkit.Backend, arguments: dict[str, Any], tmp_path: Path
) -> None:
    source, folder = noise((16, 16)), arguments["control"]["controlnet"]
    one = editkit.apply("control", source, model=tiny_model, steps=1, prompt="blue", controlnet=folder)
    other = editkit.apply("img2img", source, model=tiny_model, steps=2, attach=(f"controlnet:weights={folder}",))
    for result, name in ((one, "controlnet"), (other, "attach")):
        with pytest.raises(editkit.InvalidParameter, match=f"no path is taken from a file: pass {name}="):
            editkit.replay(result.save(tmp_path / f"{name}.png"), model=tiny_model)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_the_default_dtype_of_torch_changes_no_pixel(tiny_model: editkit.Backend, dtype: torch.dtype) -> None:
    """Every loading by transformers or diffusers changes it for the whole process, in any thread."""
    source, words = noise((24, 16)), {"source": "red", "target": "blue"}
    calls: list[tuple[str, Any, dict[str, Any]]] = [
        ("img2img", source, {"prompt": "red", "sampler": "ddpm"}),
        ("prompt-edit", source, {**words, "inverter": "edit-friendly", "guidance": 2.0}),
        ("flow-edit", source, words),
        ("interpolate", (source, noise((24, 16))), {"frames": 3}),
        ("outpaint", source, {"right": 8, "prompt": "red"}),
        ("upscale", source, {"prompt": "red"}),
        ("generate", None, {"prompt": "red"}),
    ]

    def pixels() -> list[bytes]:
        options: dict[str, Any] = {"model": tiny_model, "steps": 3, "seed": 1, "cache": False}
        return [editkit.apply(name, image, **params, **options).image.tobytes() for name, image, params in calls]

    before = pixels()
    torch.set_default_dtype(dtype)
    try:
        assert pixels() == before
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_default_device_of_torch_changes_no_pixel() -> None:
    source, words, model = noise((24, 16)), {"source": "red", "target": "blue"}, editkit.testing.ToyBackend()
    calls: list[tuple[str, Any, dict[str, Any]]] = [
        ("prompt-edit", source, words),
        ("flow-edit", source, words),
        ("few-step-edit", source, words),
        ("chord-edit", source, words),
        ("uni-edit", source, words),
        ("interpolate", (source, noise((24, 16))), {"frames": 3}),
        ("outpaint", source, {"right": 8}),
        ("upscale", source, {}),
        ("generate", None, {"prompt": "red"}),
    ]

    def pixels() -> list[bytes]:
        options: dict[str, Any] = {"model": model, "steps": 3, "seed": 1, "cache": False}
        return [editkit.apply(name, image, **params, **options).image.tobytes() for name, image, params in calls]

    before = pixels()
    with torch.device("meta"):
        assert pixels() == before


@pytest.mark.slow
def test_the_default_device_of_torch_changes_neither_a_loaded_model_nor_its_pixels(tmp_path: Path) -> None:
    """Networks of diffusers and transformers create tensors on it."""
    folder, source = stable_diffusion_folder(tmp_path), noise((24, 16))

    def edit(model: editkit.Backend) -> bytes:
        words = {"source": "red", "target": "blue"}
        result = editkit.apply("prompt-edit", source, model=model, steps=2, seed=1, cache=False, **words)
        return bytes(result.image.tobytes())

    model = editkit.load_model(folder)
    before = edit(model)
    with torch.device("meta"):
        assert edit(model) == edit(editkit.load_model(folder)) == before


def test_a_mask_of_any_kind_replays_as_it_was_read(tiny_model: editkit.Backend, tmp_path: Path) -> None:
    source, strokes = noise((24, 18), "RGB"), Image.new("RGBA", (24, 18))
    strokes.paste((0, 0, 0, 255), (3, 4, 15, 11))
    mask = {"mask": strokes, "mask_from": "alpha", "invert_mask": True}
    result = editkit.apply("img2img", source, model=tiny_model, steps=3, seed=4, **mask, **EDITS["img2img"])
    assert np.array_equal(np.asarray(result.image)[4:11, 3:15], np.asarray(source)[4:11, 3:15])
    assert result.report.untouched_max_diff == 0
    file = result.save(tmp_path / "x.png", recipe="full")
    alone = editkit.replay(file, model=tiny_model)
    plain = result.save(tmp_path / "y.png")
    again = editkit.replay(plain, model=tiny_model, source=source, set={"mask": strokes})
    for replayed in (alone, again):
        assert replayed.image.tobytes() == result.image.tobytes() and replayed.report.warnings == ()
    inverse = editkit.replay(file, model=tiny_model, set={"invert_mask": False})
    assert np.array_equal(np.asarray(inverse.image)[0], np.asarray(source)[0]) and not same(inverse.image, source)
    with pytest.raises(editkit.InvalidParameter, match="pass mask= too"):
        editkit.replay(file, model=tiny_model, set={"mask_from": "luma"})


def sticker(colour: tuple[int, int, int], box: tuple[int, int, int, int]) -> Image.Image:
    image = Image.new("RGBA", (32, 24), (9, 9, 9, 0))
    image.paste((*colour, 255), box)
    return image


def test_an_edit_of_a_sticker_shows_the_edit_of_its_flat_image(tiny_model: editkit.Backend) -> None:
    image = sticker((200, 30, 30), (8, 6, 24, 18))
    image.paste((30, 30, 200, 100), (24, 6, 32, 18))
    params = {"model": tiny_model, "steps": 3, "seed": 0, **EDITS["img2img"]}
    result, flat = (
        editkit.apply("img2img", image, **params),
        editkit.apply("img2img", editkit.on_white(image), **params),
    )
    assert same(result.image.getchannel("A"), image.getchannel("A"))
    after, expected = np.asarray(editkit.on_white(result.image)).astype(int), np.asarray(flat.image).astype(int)
    opaque = np.asarray(image.getchannel("A")) == 255
    assert np.abs(after - expected)[opaque].max() <= 1
    glass = np.zeros_like(opaque)
    glass[10:14, 28:] = True  # away from contours
    shown = glass & (expected.min(-1) >= 155) & (expected - 155 <= 100).all(-1)
    assert np.abs(after - expected)[shown].max(initial=0) <= 2
    assert (np.asarray(result.image)[np.asarray(image)[..., 3] == 0] == (9, 9, 9, 0)).all()


@pytest.mark.parametrize("operation", ["inpaint", "img2img", "control"])
def test_a_transparent_hole_under_a_mask_is_filled(
    tiny_model: editkit.Backend, arguments: dict[str, Any], operation: str
) -> None:
    image = noise((32, 24), "RGB").convert("RGBA")
    image.paste((0, 0, 0, 0), (10, 8, 20, 16))
    mask = Image.new("L", image.size)
    mask.paste(255, (8, 6, 22, 18))
    params = {**EDITS[operation], **arguments.get(operation, {}), "strength": 1.0}
    result = editkit.apply(operation, image, model=tiny_model, mask=mask, steps=3, seed=0, **params)
    after, before, marked = np.asarray(result.image), np.asarray(image), np.asarray(mask) > 0
    assert (after[marked][:, 3] == 255).all() and np.array_equal(after[~marked], before[~marked])
    empty = editkit.apply(operation, image, model=tiny_model, mask=mask.point(lambda level: 0), steps=3, **params)
    assert same(empty.image, image)


def test_interpolating_an_image_with_itself_gives_it_in_every_frame(tiny_model: editkit.Backend) -> None:
    image = sticker((200, 30, 30), (8, 6, 24, 18))
    image.putpixel((7, 9), (200, 30, 30, 80))
    params = {"model": tiny_model, "source": "red", "target": "red", "steps": 3}
    first, middle, last = editkit.apply("interpolate", (image, image), frames=3, **params).frames
    assert same(first, image) and same(last, image)
    assert np.array_equal(np.asarray(middle)[..., 3], np.asarray(image)[..., 3])
    pair = (image, sticker((40, 160, 60), (14, 6, 30, 18)))
    flat = tuple(map(editkit.on_white, pair))
    mixed, expected = (editkit.apply("interpolate", two, frames=3, **params).frames[1] for two in (pair, flat))
    assert np.abs(np.asarray(editkit.on_white(mixed)).astype(int) - np.asarray(expected)).max() <= 2


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_the_report_of_an_interpolation_is_that_of_its_file(
    tiny_model: editkit.Backend, tmp_path: Path, depth: Any
) -> None:
    random = np.random.default_rng(0)
    pair = tuple(random.integers(0, np.iinfo(depth).max, (12, 16, 4), dtype=depth, endpoint=True) for _ in range(2))
    result = editkit.apply("interpolate", pair, model=tiny_model, steps=2, frames=3)
    assert result.report.output_size == result.image.size == (48, 12)
    eight = {} if depth == np.uint8 else {"8 bits per channel, the frames have 16"}
    lost = {".png": {}, ".gif": {"laid on white", "256 colours", *eight}, ".webp": eight, ".jpg": {"no transparency"}}
    for suffix in (*lost, ".gif", ".png"):
        written = Image.open(result.save(tmp_path / f"out{suffix}"))
        assert result.report.output_size == written.size
        own = [one for one in result.losses if one in result.report.warnings]
        assert len(own) == len(result.losses) and all(any(text in one for one in own) for text in lost[suffix])
        assert suffix == ".jpg" or len(own) == len(lost[suffix])


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("operation", ["inpaint", "img2img"])
def test_nothing_of_a_16_bit_source_is_left_in_what_was_erased(
    tiny_model: editkit.Backend, operation: str, channels: int
) -> None:
    random = np.random.default_rng(0)
    one = random.integers(0, 65536, (30, 40, channels), dtype=np.uint16)
    other, mask = one.copy(), np.zeros((30, 40), np.uint8)
    mask[8:20, 10:30] = 255
    other[mask > 0] = random.integers(0, 65536, other[mask > 0].shape, dtype=np.uint16)
    how = {"model": tiny_model, "mask": mask, "prompt": "blue", "strength": 1.0, "steps": 2, "seed": 0}
    first, second = (editkit.apply(operation, source, **how).levels for source in (one, other))
    assert np.array_equal(first, second) and not np.array_equal(first, one)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_reconstruction_keeps_alpha(tiny_model: editkit.Backend, mode: str) -> None:
    source = noise((37, 61), mode)
    result = editkit.reconstruct(editkit.invert(source, model=tiny_model, prompt="red", steps=2), model=tiny_model)
    assert result.image.mode == "RGBA" and same(result.image.getchannel("A"), source.getchannel("A"))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_mask_holds_for_an_operation_that_names_no_reconstruction(
    tiny_model: editkit.Backend, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def operation(session: editkit.Session, params: Any) -> editkit.Edit:
        start = session.noise()
        return editkit.Edit(session.draw(start, session.drawing_path(params.steps), session.embed(""), noise=start))

    specs = installed().specs["operations"]
    monkeypatch.setitem(specs, "img2img", dc.replace(specs["img2img"], load=lambda: operation))
    source, mask = noise((40, 30), mode), np.zeros((30, 40), np.uint8)
    mask[5:20, 10:30] = 255
    result = editkit.apply("img2img", source, model=tiny_model, steps=2, mask=mask)
    assert result.image.mode == mode and result.report.untouched_max_diff == 0
    assert np.array_equal(np.asarray(result.image)[mask == 0], np.asarray(source)[mask == 0])
    assert not np.array_equal(result.image, source)
