"""Edits of animations: every frame keeps the promises of an image, and attends to the first one."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import editkit
from editkit import Animation, Backend, Cancelled, InvalidParameter, MissingCapability, repeat_condition
from editkit.cli import main
from editkit.editing.animation.first_frame import FIRST, AnchoredCalls
from editkit.editing.recipe import ImageReference
from editkit.images.animation.encoding import encode_animation
from editkit.images.animation.flicker import measure_flicker
from editkit.model.calls.request import NetworkRequest
from editkit.testing import ToyBackend

EDIT: dict[str, Any] = {"source": "red", "target": "blue", "steps": 2, "seed": 0}


def frame(number: int, mode: str = "RGB") -> Image.Image:
    random = np.random.default_rng(number)
    return Image.fromarray(random.integers(0, 256, (16, 24, len(mode)), dtype=np.uint8))


def moving(*numbers: int) -> Animation:
    return Animation.of([frame(number) for number in numbers], milliseconds=70)


def levels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.int16)


def test_each_frame_is_the_edit_of_one_image(tiny_model: Backend) -> None:
    result = editkit.apply_to_animation("flow-edit", moving(0, 1), model=tiny_model, anchor=False, batch=1, **EDIT)
    for before, after in zip(result.source.frames, result.frames, strict=True):
        single = editkit.apply("flow-edit", before, model=tiny_model, **EDIT)
        assert np.array_equal(levels(single.image), levels(after))
        assert not np.array_equal(levels(before), levels(after))
    assert (result.report.frames, result.report.anchored) == (2, False)
    assert result.animation.durations == (70.0, 70.0)


def test_an_anchored_edit_leaves_the_first_frame(tiny_model: Backend) -> None:
    edit = functools.partial(editkit.apply_to_animation, "flow-edit", model=tiny_model, **EDIT)
    plain, anchored = edit(moving(0, 1, 2), anchor=False), edit(moving(0, 1, 2), batch=2)
    assert anchored.report.anchored
    assert anchored.report.warnings == ()
    # Rows of one call are summed in another order by its size: one level of 255.
    assert np.abs(levels(plain.frames[0]) - levels(anchored.frames[0])).max() <= 1


def test_frames_attend_to_the_first_one_alone(tiny_model: Backend) -> None:
    noise = torch.randn(3, 2, 4, 2, 4, generator=torch.Generator().manual_seed(0))
    condition, point = repeat_condition(tiny_model.embed(["red"]), 2), tiny_model.schedule.point(500.0)
    requests = [NetworkRequest("denoise", x, point, condition) for x in (*noise, noise[0])]
    alone = [request.evaluate(tiny_model) for request in requests]
    calls = AnchoredCalls()
    together, pair = (
        calls(tiny_model, dict(enumerate(requests))),
        calls(tiny_model, {FIRST: requests[0], 1: requests[1]}),
    )
    scale = alone[1].abs().max()
    for number in (FIRST, 3):  # the keys of an equal frame add nothing
        assert (together[number] - alone[number]).abs().max() < 1e-5 * scale
    assert (together[1] - alone[1]).abs().max() > 1e-4 * scale
    assert (together[1] - pair[1]).abs().max() < 1e-5 * scale
    assert calls.alone == 0


@pytest.mark.parametrize("anchor", [True, False])
def test_frames_that_end_in_another_order_replay_bit_for_bit(tiny_model: Backend, anchor: bool) -> None:
    source = moving(0, 1)
    given = {**EDIT, "inverter": "fixed-point", "steps": 5}
    result = editkit.apply_to_animation("prompt-edit", source, model=tiny_model, anchor=anchor, **given)
    assert result.recipe.sources == (ImageReference.of(source.frames[0]),)
    again = editkit.replay(result, source=source, model=tiny_model)
    assert all(np.array_equal(levels(a), levels(b)) for a, b in zip(result.frames, again.frames, strict=True))


def test_equal_frames_have_one_edit(tiny_model: Backend) -> None:
    result = editkit.apply_to_animation("flow-edit", moving(0, 1, 0, 1), model=tiny_model, **EDIT)
    assert np.array_equal(levels(result.frames[1]), levels(result.frames[3]))
    twice = editkit.apply_to_animation("flow-edit", moving(0, 1), model=tiny_model, **EDIT)
    assert result.report.network_calls == twice.report.network_calls


@pytest.mark.parametrize("suffix", [".png", ".webp"])
@pytest.mark.parametrize("operation", ["prompt-edit", "img2img"])
def test_no_frame_changes_outside_its_mask(tiny_model: Backend, suffix: str, operation: str) -> None:
    params = EDIT if operation == "prompt-edit" else {"prompt": "blue", "steps": 2, "seed": 0}
    masks = [Image.new("L", (24, 16)) for _ in range(3)]
    for number, mask in enumerate(masks):
        mask.paste(255, (4 * number, 0, 4 * number + 12, 16))
    for given in (masks[1], encode_animation(Animation.of(masks), ".gif")):
        source = Animation.of([frame(number, "RGBA") for number in range(3)])
        result = editkit.apply_to_animation(operation, source, model=tiny_model, mask=given, **params)
        written = editkit.open_animation(result.encoded(suffix))
        for number, (before, after) in enumerate(zip(source.frames, written.frames, strict=True)):
            kept = np.asarray(masks[1] if given is masks[1] else masks[number]) == 0
            visible = kept & (np.asarray(before.getchannel("A")) > 0)
            assert np.array_equal(levels(before)[visible], levels(after)[visible])
            assert not np.array_equal(levels(before)[~kept], levels(after)[~kept])
        assert result.report.untouched_max_diff == 0
        expected = [masks[1]] * 3 if given is masks[1] else masks
        assert all(np.array_equal(levels(a), levels(b)) for a, b in zip(expected, result.masks, strict=True))


def test_a_still_mask_is_read_once_for_all_frames(tiny_model: Backend) -> None:
    painted = moving(0, 1).frames[1].copy()  # a copy of the second frame, and an image of its own beside the first
    painted.paste((255, 0, 0), (0, 0, 12, 16))
    result = editkit.apply_to_animation("flow-edit", moving(0, 1), model=tiny_model, mask=painted, **EDIT)
    assert np.array_equal(levels(result.masks[0]), levels(result.masks[1]))
    assert not any(warning.startswith("frame ") for warning in result.report.warnings)


def test_frames_of_another_size_have_no_flicker_and_keep_the_source(tiny_model: Backend) -> None:
    given = {"prompt": "red", "right": 8, "steps": 1, "seed": 0}
    result = editkit.apply_to_animation("outpaint", moving(0, 1), model=tiny_model, **given)
    assert (result.animation.size, result.report.flicker, result.report.untouched_max_diff) == ((32, 16), None, 0)
    for before, after in zip(result.source.frames, result.frames, strict=True):
        assert np.array_equal(levels(before), levels(after)[:, :24])


def test_a_gif_of_too_many_colours_is_measured(tiny_model: Backend) -> None:
    mask = Image.new("L", (24, 16))
    mask.paste(255, (0, 0, 12, 16))
    result = editkit.apply_to_animation("flow-edit", moving(0, 1), model=tiny_model, mask=mask, **EDIT)
    assert result.report.untouched_max_diff == 0
    written = editkit.open_animation(result.encoded(".gif"))
    difference = max(
        np.abs(levels(a) - levels(b))[:, 12:].max() for a, b in zip(result.frames, written.frames, strict=True)
    )
    assert result.report.untouched_max_diff == difference > 0
    assert any("GIF has a palette" in warning for warning in result.report.warnings)
    result.encoded(".png")
    assert result.report.warnings == ()


def test_a_video_is_measured(tiny_model: Backend, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    mask = Image.new("L", (24, 16))
    mask.paste(255, (0, 0, 12, 16))
    source = editkit.open_animation(encode_animation(moving(0, 1), ".mp4"))
    result = editkit.apply_to_animation("flow-edit", source, model=tiny_model, mask=mask, **EDIT)
    assert result.report.untouched_max_diff == 0
    file = result.save(tmp_path / "out.mp4")
    written = editkit.open_animation(file)
    difference = max(
        np.abs(levels(a) - levels(b))[:, 12:].max() for a, b in zip(source.frames, written.frames, strict=True)
    )
    assert result.report.untouched_max_diff == difference > 0
    assert any("MP4 is lossy" in warning for warning in result.report.warnings)
    again = editkit.replay(file, source=source, set={"mask": mask}, model=tiny_model)
    assert again.encoded(".mp4") == file.read_bytes()


def test_wrong_calls_are_refused_before_the_model_is_loaded() -> None:
    edit = functools.partial(editkit.apply_to_animation, model="nowhere")
    for operation, given, words in (
        ("invert", {}, "invert edits no animation"),
        ("flow-edit", {**EDIT, "mask": encode_animation(moving(0, 1, 2), ".gif")}, "mask has 3 frames"),
        ("flow-edit", {**EDIT, "mask": Image.new("L", (3, 3))}, "must be 24 x 16"),
        ("flow-edit", {**EDIT, "batch": 0}, "batch=0"),
        ("flow-edit", {**EDIT, "steps": 0}, "steps=0"),
    ):
        with pytest.raises(InvalidParameter, match=words):
            edit(operation, moving(0, 1), **given)


def test_an_anchor_that_is_not_possible_is_refused(tiny_model: Backend) -> None:
    with pytest.raises(MissingCapability, match="anchor=True is not allowed: the model 'toy' provides no"):
        editkit.apply_to_animation("flow-edit", moving(0, 1), model=ToyBackend(), anchor=True, **EDIT)
    attached = {"attach": ["mutual-attention"], "model": tiny_model, **EDIT}
    with pytest.raises(InvalidParameter, match="anchor=True is not allowed: frames with controls"):
        editkit.apply_to_animation("prompt-edit", moving(0, 1), anchor=True, **attached)
    report = editkit.apply_to_animation("prompt-edit", moving(0, 1), **attached).report
    assert not report.anchored
    assert any("the frames do not attend to the first one" in warning for warning in report.warnings)


def test_an_operation_that_changes_the_network_warns_that_no_frame_is_anchored(
    tiny_model: Backend, tiny_controlnet: Path
) -> None:
    maps = encode_animation(Animation.of([frame(number).convert("L") for number in (5, 6)]), ".gif")
    given = {"controlnet": str(tiny_controlnet), "control_image": maps, "steps": 1, "seed": 0}
    report = editkit.apply_to_animation("control", moving(0, 1), model=tiny_model, **given).report
    assert not report.anchored
    assert any("control changes the network for one image at a time" in warning for warning in report.warnings)


def test_a_cancelled_edit_gives_nothing(tiny_model: Backend) -> None:
    labels = []

    def stop(steps: Iterable[Any], total: int, desc: str) -> Iterable[Any]:
        labels.append(desc)
        return list(steps) if len(labels) < 2 else []

    with pytest.raises(Cancelled):
        editkit.apply_to_animation("flow-edit", moving(0, 1, 2), model=tiny_model, batch=2, progress=stop, **EDIT)
    assert labels[0].startswith("frame 2 of 3: ")


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_a_replay_has_the_frames_of_an_animation(tiny_model: Backend, tmp_path: Path, suffix: str) -> None:
    source = encode_animation(moving(0, 1, 2), suffix)
    mask = Image.new("L", (24, 16))
    mask.paste(255, (0, 0, 12, 16))
    given = {"mask": mask, "batch": 2, "model": tiny_model}
    result = editkit.apply_to_animation("flow-edit", source, **given, **EDIT)
    file = result.save(tmp_path / f"out{suffix}")
    again = editkit.replay(file, source=source, set={"mask": mask}, model=tiny_model)
    assert again.encoded(suffix) == file.read_bytes()
    for before, after in zip(result.frames, again.frames, strict=True):
        assert np.array_equal(levels(before), levels(after))
    other = editkit.replay(result, source=source, set={"mask": mask, "seed": 1}, model=tiny_model)
    assert not np.array_equal(levels(other.frames[0]), levels(result.frames[0]))
    for wrong, words in (
        (moving(0, 1), "2 frames"), (moving(0, 2, 1), "other pixels"), (None, "source .24 x 16"),
    ):  # fmt: skip
        with pytest.raises(InvalidParameter, match=words):
            editkit.replay(file, source=wrong, set={"mask": mask}, model="nowhere")


def test_a_pipeline_edits_an_animation_step_by_step(tiny_model: Backend, tmp_path: Path) -> None:
    steps = [("flow-edit", EDIT), ("img2img", {"prompt": "red", "steps": 2, "seed": 3})]
    pipeline = editkit.Pipeline(steps)
    result = pipeline.apply_to_animation(moving(0, 1), model=tiny_model, anchor=False, batch=1)
    singles = [pipeline(frame(number), model=tiny_model).image for number in (0, 1)]
    for after, single in zip(result.frames, singles, strict=True):
        assert np.array_equal(levels(after), levels(single))
    report = result.report
    assert (report.operation, report.frames, len(report.params["steps"])) == ("run", 2, 2)
    file = result.save(tmp_path / "out.png")
    assert editkit.replay(file, source=moving(0, 1), model=tiny_model).encoded(".png") == file.read_bytes()


def test_the_shell_runs_and_replays_an_animation_and_compares_none(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in.gif").write_bytes(encode_animation(moving(0, 1), ".gif"))
    (tmp_path / "steps.yaml").write_text("steps: [img2img: {prompt: red, steps: 2}]")
    words = ["run", "steps.yaml", "in.gif", "-o", "out.webp", "--seed", "0", "--no-anchor", "-m", tiny_folder]
    again = ["replay", "out.webp", "--source", "in.gif", "-o", "again.webp", "-m", tiny_folder]
    for command in (words, again):
        done = call(tmp_path, *command)
        assert done.exit_code == 0, done.output
    assert (tmp_path / "out.webp").read_bytes() == (tmp_path / "again.webp").read_bytes()
    Image.new("RGB", (8, 8)).save(tmp_path / "still.png")
    for command, message in (
        (["run", "steps.yaml", "still.png", "--batch", "2"], "--batch is for animations"),
        (["compare", "in.gif", "--source", "red", "--target", "blue"], "only still images are allowed here"),
    ):
        done = call(tmp_path, *command)
        assert done.exit_code != 0
        assert message in done.output


def call(folder: Path, *words: Any) -> Any:
    """Run the command line in a folder."""
    with contextlib.chdir(folder):
        return CliRunner().invoke(main, [str(word) for word in words])


@pytest.mark.model
def test_an_animation_flickers_less_than_half_of_its_frames_edited_one_by_one() -> None:
    apple = Image.open(Path(__file__).parents[1] / "pictures" / "noto-red-apple.png").convert("RGBA").resize((48, 48))
    clip = []
    for left in (8, 9, 11):
        clip.append(Image.new("RGB", (64, 64), "white"))
        clip[-1].paste(apple, (left, 8), apple)
    given = {"source": "noto red apple", "target": "noto green apple", "steps": 4, "cache": False}
    one_by_one = editkit.apply_all("flow-edit", clip, seeds=[0, 1, 2], **given)
    (flicker,) = measure_flicker(clip, [one.image for one in one_by_one])
    report = editkit.apply_to_animation("flow-edit", Animation.of(clip), seed=0, **given).report
    assert report.flicker is not None
    assert report.flicker <= flicker / 2


def test_the_network_waits_for_edits_that_decode(tiny_model: Backend) -> None:
    encode = NetworkRequest("encode", torch.zeros(1, 3, 16, 16))
    network = NetworkRequest("denoise", torch.zeros(1, 4, 2, 2), editkit.CLEAN, {})
    assert set(AnchoredCalls()(tiny_model, {FIRST: network, 1: encode})) == {1}
