"""Operations and controls of several plugins in one loop, and one after another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

import editkit
from editkit.testing.suite import sample_image, toy_session

SOURCE = sample_image((48, 40))
WORDS = {"source": "red", "target": "blue", "steps": 4, "guidance": 5.0}


@pytest.fixture(scope="module")
def controlnet(tiny_controlnet: Path) -> str:
    return f"controlnet:weights={tiny_controlnet}"


def half() -> Image.Image:
    mask = Image.new("L", SOURCE.size)
    mask.paste(255, (24, 0, 48, 40))
    return mask


def pixels(result: editkit.Result) -> np.ndarray[Any, Any]:
    return np.asarray(result.image)


def test_a_mask_a_controlnet_and_a_pinned_source_act_in_one_drawing(
    tiny_model: editkit.Backend, controlnet: str
) -> None:
    plain, steered = (
        editkit.apply("prompt-edit", SOURCE, model=tiny_model, mask=half(), attach=attach, cache=False, **WORDS)
        for attach in ((), (f"{controlnet},scale=3",))
    )
    assert steered.report.recon_psnr == steered.report.vae_psnr
    assert steered.report.untouched_max_diff == 0
    assert steered.report.network_calls == plain.report.network_calls
    assert not np.array_equal(pixels(steered)[:, 24:], pixels(plain)[:, 24:])


def test_a_controlnet_of_scale_zero_or_without_a_window_is_none(tiny_model: editkit.Backend, controlnet: str) -> None:
    plain, *others = (
        editkit.apply("img2img", SOURCE, model=tiny_model, prompt="blue", steps=4, seed=1, attach=attach)
        for attach in ((), (f"{controlnet},scale=0",), (f"{controlnet},start=0.5,end=0.5",))
    )
    assert all(np.array_equal(pixels(plain), pixels(other)) for other in others)


def steer(model: editkit.Backend, *attach: str) -> editkit.Result:
    params = {"prompt": "blue", "strength": 0.7, "steps": 4, "seed": 1}
    result: editkit.Result = editkit.apply("img2img", SOURCE, model=model, attach=attach, **params)
    return result


def test_an_attached_map_is_that_of_control(tiny_model: editkit.Backend, controlnet: str, tmp_path: Path) -> None:
    sample_image((48, 40), seed=3).convert("RGB").save(tmp_path / "map.png")
    params = {"prompt": "blue", "strength": 0.7, "steps": 4, "seed": 1, "guidance": 3.0}
    direct = editkit.apply(
        "control",
        SOURCE,
        model=tiny_model,
        control_image=tmp_path / "map.png",
        controlnet=controlnet.partition("=")[2],
        **params,
    )
    attached = steer(tiny_model, f"{controlnet},image={tmp_path / 'map.png'}")
    assert np.array_equal(pixels(direct), pixels(attached))


def test_an_attached_map_has_the_warnings_of_one_of_control(
    tiny_model: editkit.Backend, controlnet: str, tmp_path: Path
) -> None:
    levels = np.full(SOURCE.size[::-1], 255, np.uint8)
    Image.fromarray(levels).save(tmp_path / "blank.png")
    levels[::8] = 0
    Image.fromarray(levels).save(tmp_path / "lines.png")
    for name, warning in (("blank", "one value everywhere"), ("lines", "; invert=True exchanges them")):
        attach = f"{controlnet},image={tmp_path / name}.png"
        assert any(warning in text for text in steer(tiny_model, attach).report.warnings)
    assert not steer(tiny_model, f"{controlnet},image={tmp_path / 'lines.png'},invert=true").report.warnings


def test_colours_of_a_map_for_a_registered_controlnet_are_named(bundled_model: editkit.Backend) -> None:
    false_colours = np.zeros((24, 24, 3), np.uint8)
    false_colours[:12, :, 0] = false_colours[12:, :, 2] = 255
    image = Image.new("RGB", (24, 24), "white")
    for kind, control_image in (("edge", false_colours), ("relief", false_colours), ("relief", false_colours[..., 0])):
        params = {"kind": kind, "control_image": control_image, "prompt": "x", "steps": 1}
        warnings = editkit.apply("control", image, model=bundled_model, **params).report.warnings
        assert any("knows grey maps" in text for text in warnings) == (control_image.ndim == 3)


def test_a_map_computed_from_an_image_without_edges_is_named(tiny_model: editkit.Backend, controlnet: str) -> None:
    params = {"prompt": "blue", "steps": 1, "controlnet": controlnet.partition("=")[2]}
    for image, count in ((Image.new("RGB", (16, 16)), 1), (SOURCE, 0)):
        warnings = editkit.apply("control", image, model=tiny_model, **params).report.warnings
        assert sum("the edge map of the image has one value everywhere" in text for text in warnings) == count


def test_a_controlnet_acts_where_its_mask_is_white(
    tiny_model: editkit.Backend, controlnet: str, tmp_path: Path
) -> None:
    for name, mask in {"black": Image.new("L", SOURCE.size), "white": Image.new("L", SOURCE.size, 255)}.items():
        mask.save(tmp_path / f"{name}.png")
    half().save(tmp_path / "half.png")
    masked = {
        name: steer(tiny_model, f"{controlnet},scale=3,mask={tmp_path / name}.png")
        for name in ("black", "white", "half")
    }
    plain, steered = steer(tiny_model), steer(tiny_model, f"{controlnet},scale=3")
    assert np.array_equal(pixels(masked["black"]), pixels(plain))
    assert np.array_equal(pixels(masked["white"]), pixels(steered))
    changes = np.abs(pixels(masked["half"]).astype(int) - pixels(plain))
    assert changes[:, 24:].mean() > 2 * changes[:, :24].mean()


def test_the_map_and_the_mask_of_a_controlnet_follow_an_edit_into_the_surroundings_of_a_mask(
    tiny_model: editkit.Backend, controlnet: str, tmp_path: Path
) -> None:
    def filled(name: str, box: tuple[int, int, int, int] | None, **options: float) -> np.ndarray[Any, Any]:
        for image in (sample_image((48, 40), seed=5), half(), SOURCE, mask):
            image.crop(box or (0, 0, 48, 40)).save(tmp_path / f"{len(list(tmp_path.iterdir()))}-{name}.png")
        given = sorted(tmp_path.glob(f"*-{name}.png"), key=lambda path: int(path.name.partition("-")[0]))
        attach = [f"{controlnet},scale=3,image={given[0]},mask={given[1]}"]
        params = {"prompt": "blue", "steps": 2, "seed": 1, "mask": given[3], "resolution": 16}
        return pixels(editkit.apply("inpaint", given[2], model=tiny_model, attach=attach, **params, **options))

    mask = Image.new("L", SOURCE.size)
    mask.paste(255, (20, 14, 28, 22))
    by_hand = filled("crop", (16, 10, 32, 26), context=0)
    assert np.array_equal(filled("whole", None, context=0.5)[10:26, 16:32], by_hand)


def test_the_map_of_a_controlnet_is_enlarged_with_the_tiles(
    tiny_model: editkit.Backend, controlnet: str, tmp_path: Path
) -> None:
    def enlarged(**maps: Image.Image) -> np.ndarray[Any, Any]:
        attach = [f"{controlnet},scale=3,image={tmp_path / name}.png" for name in maps]
        for name, one in maps.items():
            one.save(tmp_path / f"{name}.png")
        return pixels(editkit.apply("upscale", SOURCE, model=tiny_model, steps=3, seed=1, attach=attach))

    left = half().transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    plain, one, other = enlarged(), enlarged(right=half()), enlarged(left=left)
    assert not np.array_equal(one, other)
    assert not np.array_equal(plain, one)


def test_options_of_a_control_are_checked_like_parameters(
    tiny_model: editkit.Backend, controlnet: str, tmp_path: Path
) -> None:
    (warning,) = steer(tiny_model, f"{controlnet},invert=true").report.warnings
    assert warning.startswith("controlnet:invert=True has no effect")
    Image.new("L", (5, 5)).save(tmp_path / "small.png")
    with pytest.raises(editkit.InvalidParameter, match="5 x 5"):
        steer(tiny_model, f"{controlnet},mask={tmp_path / 'small.png'}")
    with pytest.raises(editkit.InvalidParameter, match="start must be at most end"):
        steer(tiny_model, f"{controlnet},start=0.5,end=0.2")


def test_a_model_without_controlnets_is_named(controlnet: str) -> None:
    with pytest.raises(editkit.MissingCapability, match="'toy' provides text"):
        editkit.apply("img2img", SOURCE, model=editkit.testing.ToyBackend(), steps=2, attach=(controlnet,))


def test_a_pipeline_file_chains_masks_sizes_and_controls(
    tiny_model: editkit.Backend, controlnet: str, tmp_path: Path
) -> None:
    half().save(tmp_path / "mask.png")
    text = f"""
    steps:
      - prompt-edit: {{source: red, target: blue, steps: 2, mask: {tmp_path / "mask.png"}}}
      - img2img: {{prompt: blue, steps: 3, strength: 0.4, mask: {tmp_path / "mask.png"}, attach: ["{controlnet}"]}}
      - outpaint: {{right: 10, prompt: blue, steps: 2}}
      - upscale: {{scale: 2, strength: 0.0}}
    """
    result = editkit.Pipeline.from_yaml(text)(SOURCE, model=tiny_model, seed=1)
    assert result.image.size == (2 * (48 + 10), 2 * 40)
    small = result.image.resize((58, 40), Image.Resampling.BOX).crop((0, 0, 24, 40))
    # Pixels that no step changed bypass the autoencoder: enlarged and averaged down they equal the source.
    assert np.abs(np.asarray(small, int) - np.asarray(SOURCE, int)[:, :24]).max() <= 1


def test_every_step_may_have_a_model_of_its_own(tmp_path: Path) -> None:
    models = [editkit.testing.ToyBackend(variance=variance) for variance in (0.25, 0.5)]
    steps = [("img2img", {"prompt": colour, "steps": 3, "strength": 0.5, "seed": 1}) for colour in ("red", "blue")]
    created = editkit.Pipeline(steps)(SOURCE, model=models)
    first = editkit.apply("img2img", SOURCE, model=models[0], **steps[0][1])
    assert np.array_equal(
        pixels(created), pixels(editkit.apply("img2img", first.image, model=models[1], **steps[1][1]))
    )
    file = created.save(tmp_path / "made.png", recipe="full")
    again = editkit.replay(file, model=models)
    assert np.array_equal(pixels(again), pixels(created))
    assert not again.report.warnings
    assert len(editkit.replay(file, model=models[0]).report.warnings) == 1
    for call in (lambda: editkit.Pipeline(steps)(SOURCE, model=models[:1]), lambda: editkit.replay(file, model=[])):
        with pytest.raises(editkit.InvalidParameter, match="for 2 steps"):
            call()


class Counting(editkit.testing.ToyBackend):
    """A toy model that counts how often it decodes."""

    decodings = 0

    def decode(self, latents: Tensor) -> Tensor:
        self.decodings += 1
        return super().decode(latents)


@pytest.mark.parametrize(("inverter", "decodings"), [("pinned", 2), ("ddim", 3)])
def test_the_image_and_the_report_share_one_decoding(inverter: str, decodings: int) -> None:
    """The edit and the reconstruction; the round trip too, where the reconstruction is not the same."""
    model = Counting()
    report = editkit.apply("prompt-edit", SOURCE, model=model, inverter=inverter, **WORDS).report
    assert model.decodings == decodings
    assert (report.recon_psnr == report.vae_psnr) == (inverter == "pinned")


def test_latents_that_were_written_into_are_decoded_again() -> None:
    session = toy_session(Counting(), editkit.DrawingParams())
    latents = session.latents.clone()
    first = session.decode_cached(latents)
    assert session.decode_cached(latents.clone()) is first
    assert not session.decode_cached(latents.mul_(0.5)).equal(first)
