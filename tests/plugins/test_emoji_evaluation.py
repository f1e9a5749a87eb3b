"""Laws of moved images, of training batches and runs, of depicted tones, and of evaluation tables."""

from __future__ import annotations

import argparse
import dataclasses as dc
import functools
import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from diffusers import AutoencoderKL, StableDiffusionInstructPix2PixPipeline, StableDiffusionPipeline
from editkit_emoji.training import (
    autoencoder,
    cases,
    compiling,
    data,
    denoiser,
    evaluate,
    methods,
    moving,
    packing,
    scenes,
)
from editkit_emoji.training.autoencoder import new_autoencoder
from editkit_emoji.training.data import TONES, Artwork, Emoji, correct_tones
from editkit_emoji.training.lessons import REPEATS, SHARES, SMALLEST_EDIT, Lessons, noisier
from editkit_emoji.training.model_folder import read_network, write_models
from editkit_emoji.training.network import new_network, with_image_channels
from editkit_emoji.training.noising import SCHEDULE
from editkit_emoji.training.pairs import ATTRIBUTES, Pair, all_pairs
from editkit_emoji.training.run import Run
from editkit_emoji.training.texts import Kind, Texts, weights_of
from editkit_emoji.training.tokenizer import new_tokenizer
from numpy.typing import NDArray
from PIL import Image

import editkit
from editkit import evaluation
from editkit.cli import main

SIZE = 16


def square(colour: tuple[int, int, int], side: int = 6) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a white image (SIZE, SIZE, 3) with a square left of the centre, and its alpha."""
    pixels, alpha = np.full((SIZE, SIZE, 3), 255, np.uint8), np.zeros((SIZE, SIZE), np.uint8)
    pixels[5 : 5 + side, 3 : 3 + side] = colour
    alpha[5 : 5 + side, 3 : 3 + side] = 255
    return pixels, alpha


def artwork() -> Artwork:
    """Apples of two colours in three styles with slightly different colours."""
    emojis, images = [], []
    for style, shade in (("flat", 0), ("3d", 20), ("blob", 40)):
        for name, colour in (("red apple", (200, shade, 0)), ("green apple", (0, 200, shade))):
            emojis.append(Emoji(style, name, name, None))
            images.append(square(colour))
    pixels, alpha = (np.stack(each) for each in zip(*images, strict=True))
    return Artwork(emojis, pixels, alpha)


def tensor(pixels: NDArray[np.uint8]) -> torch.Tensor:
    return torch.tensor(pixels).permute(2, 0, 1) / 127.5 - 1


def test_a_frame_mirrors_then_shifts_and_fills_and_cuts_off() -> None:
    image = torch.rand(3, SIZE, SIZE)
    assert torch.equal(moving.Frame()(image, 1.0), image)
    shifted = moving.Frame(shift=(2, -3))(image, 1.0)
    assert torch.equal(shifted[:, 2:, :-3], image[:, :-2, 3:])
    assert bool((shifted[:, :2] == 1).all())
    assert bool((shifted[:, :, -3:] == 1).all())
    both = moving.Frame(mirrored=True, shift=(0, 4))(image, 1.0)
    assert torch.equal(both[:, :, 4:], image.flip(-1)[:, :, :-4])


def test_an_image_at_half_the_size_has_a_quarter_of_the_ink() -> None:
    pixels, _ = square((0, 0, 0), side=8)
    small = moving.Frame(scale=0.5)(tensor(pixels), 1.0)
    assert float((1 - small).sum()) == pytest.approx(float((1 - tensor(pixels)).sum()) / 4, rel=0.02)


def test_the_ground_is_visible_where_the_image_is_transparent() -> None:
    pixels, alpha = square((10, 20, 30))
    ground = torch.rand(3, SIZE, SIZE) * 2 - 1
    covers = torch.tensor(alpha)[None] / 255
    composite = moving.apply_frame(tensor(pixels), covers, moving.Frame(), ground)
    assert torch.allclose(composite, torch.where(covers > 0, tensor(pixels), ground), atol=1e-6)


def test_names_without_a_side_alone_may_be_mirrored() -> None:
    sided = ("backhand index pointing left", "seven o clock", "waxing crescent moon", "ok button")
    assert not any(map(moving.may_be_mirrored, sided))
    assert all(map(moving.may_be_mirrored, ("red apple", "woman cook medium light skin tone", "grinning face")))


def test_a_scene_of_training_equals_the_frame_of_the_evaluation() -> None:
    """On white also for smaller images; on a ground, where the evaluation clips overshoots first, for others."""
    pixels, alpha = (torch.tensor(each)[None] for each in square((200, 30, 90)))
    images = autoencoder.to_network_with_alpha(pixels, alpha)
    white, ground = torch.ones(3, SIZE, SIZE), 2 * torch.rand(3, SIZE, SIZE) - 1
    for mirrored, side, shift, behind in (
        (True, SIZE, (0, 0), ground),
        (False, SIZE, (3, -5), ground),
        (True, SIZE, (-2, 6), white),
        (False, SIZE // 2, (0, 0), white),
        (True, 11, (2, -4), white),
    ):
        frames = scenes.Frames(*(torch.tensor([value]) for value in (side, *shift, mirrored)))
        frame = moving.Frame(mirrored, side / SIZE, shift)
        expected = moving.apply_frame(images[0, :3], images[0, 3:], frame, behind)
        torch.testing.assert_close(scenes.Scenes(frames, behind[None])(images)[0], expected, rtol=0, atol=1e-4)


def test_grounds_are_in_range_and_repeat_with_their_generator() -> None:
    one, two = (scenes.sample_grounds(40, SIZE, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == (40, 3, SIZE, SIZE)
    assert float(one.abs().max()) <= 1
    plain = (one.std((2, 3)) < 1e-6).all(1)
    assert 0 < int(plain.sum()) < 40


@pytest.mark.parametrize("scenery", [name for name in cases.SCENERY if "photographic" not in name])
def test_both_images_of_a_case_are_in_one_scene(monkeypatch: pytest.MonkeyPatch, scenery: str) -> None:
    """The images differ only inside the squares, and a case is the same at every call."""
    monkeypatch.setattr(Emoji, "held_out", True)
    works = artwork()
    pair = next(pair for pair in all_pairs(works.emojis) if pair.attribute == "colour")
    one, again = (cases.case_of(works, pair, scenery) for _ in range(2))
    assert np.array_equal(one.image, again.image)
    assert np.array_equal(one.truth, again.truth)
    differing = (one.image != one.truth).any(-1).mean()
    assert 0 < differing <= 36 / SIZE**2 + 0.05


def test_pairs_of_equal_images_are_no_cases() -> None:
    images = artwork()
    images.pixels[1] = images.pixels[0]
    pairs = [Pair(0, 1, "colour"), Pair(2, 3, "colour")]
    assert [case.pair for case in cases.cases_of(images, pairs, "in place", 2)] == pairs[1:]


def test_pairs_are_selected_by_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Emoji, "held_out", True)
    works = artwork()
    for which, styles in (("first", {"flat", "3d"}), ("added", {"blob"}), ("unseen", set())):
        found = cases.select_pairs(works, which, ("colour", "style"))
        assert {works.emojis[pair.target].style for pair in found} == styles


def test_exchanged_tones_are_found_by_colour_and_names_stay() -> None:
    """In the 3d set the images of two tones are exchanged for two hands and not for the third."""
    light = dict(zip(TONES, (230, 200, 160, 110, 60), strict=True))
    other = {"medium-light": "medium", "medium": "medium-light"}
    emojis, pixels = [], []
    for style, hand, exchanged in (
        ("gradient", "waving hand", False),
        ("3d", "waving hand", True),
        ("3d", "raised hand", False),
        ("3d", "open hands", True),
    ):
        for tone in TONES:
            actual_tone = other.get(tone, tone) if exchanged else tone
            emojis.append(Emoji(style, f"{hand} {tone.replace('-', ' ')} skin tone", hand, tone))
            pixels.append(square((light[actual_tone],) * 3)[0])
    corrected = correct_tones(emojis, np.stack(pixels))
    for before, after, image in zip(emojis, corrected, pixels, strict=True):
        assert light[after.tone or ""] == image.min()
        assert (after.name, after.key, after.held_out) == (before.name, before.key, before.held_out)


def pools_of(places: list[tuple[int, int]], *, restyled: bool) -> dict[Kind, Texts]:
    """Return pools of equal rows, whose tokens are a number of the kind and the end of the row."""
    count, numbers = len(places), torch.tensor([0, 1]).expand(len(places), 2)
    return {
        kind: Texts(torch.tensor(places), (10 * number + numbers)[..., None].short(), torch.full((count,), restyled))
        for number, kind in enumerate(SHARES, 1)
    }


def test_the_images_of_a_pair_share_scene_style_noise_and_timestep() -> None:
    """Equal images stay equal in a batch, and other images do not."""
    works, vae = artwork(), new_autoencoder(SIZE, (8, 8)).eval()
    for places, equal in ((0, 0), True), ((0, 1), False):
        lessons = Lessons(works, vae, pools_of([places] * 4, restyled=True))
        batch = lessons.batch(32, torch.Generator().manual_seed(0))
        pairs = len(batch.weights)
        source, target = slice(pairs), slice(pairs, 2 * pairs)
        assert torch.equal(batch.timesteps[source], batch.timesteps[target])
        assert len(batch.timesteps.unique()) > 1
        for part in (batch.noisy, batch.v_target):
            assert torch.allclose(part[source], part[target], atol=1e-4) == equal
        points = [SCHEDULE.point(int(timestep)) for timestep in batch.timesteps]
        alpha, sigma = (
            torch.tensor([getattr(p, name) for p in points])[:, None, None, None] for name in ("alpha", "sigma")
        )
        noise = sigma * batch.noisy + alpha * batch.v_target
        assert torch.allclose(noise[source], noise[target], atol=1e-4)
        assert float(batch.pair_error(batch.v_target)) == 0
        assert float(batch.pair_error(batch.v_target + 1)) == pytest.approx(0, abs=1e-6)  # the same error in both


def test_the_rows_of_a_batch_are_in_order_and_instructions_alone_have_an_image() -> None:
    lessons = Lessons(artwork(), new_autoencoder(SIZE, (8, 8)).eval(), pools_of([(0, 1)] * 4, restyled=False))
    batch = lessons.batch(100, torch.Generator().manual_seed(0))
    tokens, pairs = batch.tokens[:, 0], len(batch.weights)
    assert tokens.unique_consecutive().tolist() == [10, 11, 21, 31]  # sources, targets, single images, instructions
    assert 2 * pairs == pytest.approx(100 * SHARES["pair"], abs=2 * REPEATS)
    with_image = batch.image_latents.flatten(1).any(1)
    assert not bool(with_image[tokens < 31].any())
    assert float(with_image[tokens == 31].float().mean()) > 0.8


def test_only_rows_for_another_style_are_redrawn_near_their_outline(monkeypatch: pytest.MonkeyPatch) -> None:
    works = artwork()
    still = scenes.Moves(moved=0, mirrored=0, grounds=0)
    pools = pools_of([(0, 1)] * 4, restyled=False) | {"pair": pools_of([(0, 1)] * 4, restyled=True)["pair"]}
    lessons = Lessons(works, new_autoencoder(SIZE, (8, 8)).eval(), pools, still)
    monkeypatch.setattr(lessons, "encode", lambda images: images)
    generator = torch.Generator().manual_seed(0)
    chosen = {kind: rows.sample(20, generator) for kind, rows in lessons.texts.items()}
    sources, _ = lessons.encode_in_scenes(chosen, generator)
    original = tensor(works.pixels[0]).expand(20, 3, SIZE, SIZE)
    torch.testing.assert_close(sources["single"], original, rtol=0, atol=1e-5)
    assert float((sources["pair"] - original).abs().max()) > 0.1
    outline = torch.nn.functional.max_pool2d(torch.tensor(works.alpha[0])[None].float(), 5, 1, 2)[0] > 0
    torch.testing.assert_close(sources["pair"][..., ~outline], original[..., ~outline], rtol=0, atol=1e-5)


def test_batches_in_place_hold_the_latents_of_unchanged_images() -> None:
    """Also without a row that is redrawn: its text would not name the style of the image."""
    torch.manual_seed(0)
    works, vae = artwork(), new_autoencoder(SIZE, (8, 8)).eval()
    rows = [pools_of([(0, 1)] * 4, restyled=False), pools_of([(1, 1)] * 4, restyled=True)]
    pools = {kind: Texts(*map(torch.cat, zip(*(part[kind] for part in rows), strict=True))) for kind in SHARES}
    lessons = Lessons(works, vae, pools, in_place=1.0)
    batch = lessons.batch(60, torch.Generator().manual_seed(0))
    points = [SCHEDULE.point(int(timestep)) for timestep in batch.timesteps]
    alpha, sigma = (
        torch.tensor([getattr(p, name) for p in points])[:, None, None, None] for name in ("alpha", "sigma")
    )
    clean = alpha * batch.noisy - sigma * batch.v_target
    expected = lessons.encode(torch.stack([tensor(pixels) for pixels in works.pixels]))
    pairs = len(batch.weights)
    assert torch.allclose(clean[:pairs], expected[0].expand_as(clean[:pairs]), atol=1e-3)
    assert torch.allclose(clean[pairs : 2 * pairs], expected[1].expand_as(clean[:pairs]), atol=1e-3)


def test_all_batches_of_a_run_have_one_shape() -> None:
    """A network is compiled for one shape."""
    lessons = Lessons(
        artwork(), new_autoencoder(SIZE, (8, 8)).eval(), pools_of([(0, 1)] * 4, restyled=False), in_place=0.5
    )
    shapes = set()
    for lessons.in_place in (0.0, 1.0):
        batch = lessons.batch(50, torch.Generator().manual_seed(0))
        shapes.add((*(part.shape for part in batch.inputs), batch.weights.shape, batch.edit_weights.shape))
    assert len(shapes) == 1


def test_the_error_of_an_instruction_is_relative_to_its_edit() -> None:
    lessons = Lessons(artwork(), new_autoencoder(SIZE, (8, 8)).eval(), pools_of([(0, 1)] * 4, restyled=False))
    batch = lessons.batch(50, torch.Generator().manual_seed(0))
    (weight,) = set(batch.edit_weights[batch.image_latents[-len(batch.edit_weights) :].flatten(1).any(1)].tolist())
    alone = batch._replace(edit_weights=torch.full_like(batch.edit_weights, weight))
    assert 0 < weight <= 1 / SMALLEST_EDIT
    assert float(alone.edit_error(batch.v_target + 0.5)) == pytest.approx(0.25 * weight, rel=1e-4)
    assert float(alone.edit_error(batch.v_target)) == 0


def test_instructions_have_noisier_timesteps() -> None:
    timesteps = torch.arange(SCHEDULE.train_steps)
    moved = noisier(timesteps)
    assert bool((moved >= timesteps).all()) and bool((moved.diff() >= 0).all())
    assert int(moved[-1]) == SCHEDULE.train_steps - 1


class ProcessAtOnce:
    """A process that runs in the one that starts it."""

    exitcode: int | None = None

    def __init__(self, target: Callable[..., None], args: tuple[object, ...]) -> None:
        self.run = functools.partial(target, *args)

    def start(self) -> None:
        self.run()


@pytest.mark.slow
def test_a_unet_is_compiled_once_another_process_has_compiled_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling.multiprocessing, "get_context", lambda _: SimpleNamespace(Process=ProcessAtOnce))
    network = new_network(new_tokenizer(artwork().emojis), 4, 8, (16, 32))
    inputs = torch.zeros(2, 4, 8, 8), torch.zeros(2).long(), torch.zeros(2, 24).long()
    compiled = compiling.CompiledLater(network, inputs, "cpu", backend="eager")
    before = network(*inputs)
    for exit_code, is_compiled in ((None, False), (0, True)):
        compiled.process.exitcode = exit_code
        compiled.poll()
        assert (network.unet._compiled_call_impl is not None) == is_compiled
    assert compiled.process is None
    torch.testing.assert_close(network(*inputs), before, rtol=0, atol=1e-6)


def test_the_weights_of_style_pairs_sum_to_their_share() -> None:
    pairs = [Pair(0, 1, "style")] * 3 + [Pair(0, 1, "colour")] * 100 + [Pair(0, 1, "hair")] * 25
    weights = weights_of(pairs)
    assert float(weights.sum()) == pytest.approx(1)
    assert float(weights[3:103].sum()) == pytest.approx(2 * float(weights[103:].sum()))


def scores_of(hits: list[bool]) -> list[evaluate.Score]:
    pixels = np.zeros((2, 2, 3), np.uint8)
    one = Emoji("flat", "red apple", "red apple", None)
    case = cases.Case(Pair(0, 1, "colour"), one, dc.replace(one, name="green apple"), pixels, pixels)
    result = methods.EditResult(pixels, 1, 2, 0.0)
    return [evaluate.Score(case, result, 1.0, 0.0, hit, hit, 30.0, 34.0) for hit in hits]


def test_a_method_is_credited_with_its_gain_over_the_floor() -> None:
    results = {
        ("shifted", cases.FLOOR): scores_of([True, False, False, False]),
        ("shifted", "prompt-edit"): scores_of([True, True, False, True]),
    }
    floor, row = evaluate.scenery_table(results).splitlines()[2:]
    assert "0.25 (" in floor
    assert "0.75 (" in row
    assert "0.50 (" in row


def test_methods_are_compared_on_the_same_cases_in_each_scenery_and_over_the_moved_ones() -> None:
    results = {
        (scenery, name): scores_of(hits)
        for scenery, base in (("in place", [True, True]), ("shifted", [True, False]), ("small", [False, False]))
        for name, hits in (("prompt-edit", base), ("prompt-edit plug-and-play", [False, True]))
    }
    rows = evaluate.comparison_table(results, "prompt-edit").splitlines()[2:]
    assert [[cell.split(" (")[0] for cell in row.split(" | ")] for row in rows] == [
        [f"| {label}", "`prompt-edit plug-and-play`", pairs, more, "0.00", "0.00"]
        for label, pairs, more in (("in place", "2", "-0.50"), ("shifted", "2", "0.00"), ("small", "2", "0.50"))
    ] + [["| moved", "`prompt-edit plug-and-play`", "4", "0.25", "0.00", "0.00"]]


def test_a_pair_in_several_scenes_counts_once_in_a_comparison() -> None:
    base, (one, *_) = scores_of([False] * 4), scores_of([True])
    other = dc.replace(one, case=dc.replace(one.case, pair=Pair(2, 3, "colour")))
    (success, _, _) = evaluate.paired_differences([one, one, one, dc.replace(other, success=False)], base)
    assert success.startswith("0.50 (0.00 to 1.00")


@pytest.mark.model
def test_a_method_attaches_the_controls_that_follow_it() -> None:
    """The pixels are those of the operation with ``attach``, and controls need an operation of editkit."""
    pixels, _ = square((200, 0, 0))
    case = cases.Case(Pair(0, 1, "colour"), *artwork().emojis[:2], pixels, pixels)
    controls = ["mutual-attention:start=0,beside=true", "plug-and-play:queries=1,features=0"]
    text = " ".join(["prompt-edit:steps=2,frame=off", *controls])
    made, plain = (methods.method_of(each, evaluate.BUNDLED, None)(case) for each in (text, text.split()[0]))
    expected = editkit.apply(
        "prompt-edit",
        Image.fromarray(pixels),
        source=case.source.caption,
        target=case.target.caption,
        **{"steps": 2, "frame": "off", "seed": 0, "attach": controls},
    )
    assert np.array_equal(made.pixels, np.asarray(expected.image))
    assert not np.array_equal(made.pixels, plain.pixels)


def test_pairs_after_the_skipped_ones_are_the_next_cases() -> None:
    pairs = [Pair(0, 1, "colour"), Pair(2, 3, "colour"), Pair(4, 5, "colour")]
    assert [case.pair for case in cases.cases_of(artwork(), pairs, "in place", 1, skipped=1)] == pairs[1:2]


def options_of(folder: Path) -> argparse.Namespace:
    schedule = {"steps": 6, "minutes": None, "steady": 0.5, "inspections": 2, "rate": 0.1, "decay": 0.5}
    return argparse.Namespace(run=folder, seed=3, threads=1, device="cpu", **schedule)


def train_small(folder: Path, *, ended_at: int | None = None) -> Run[torch.nn.Linear]:
    """Train a small network in a process that gets a signal to end in one of the steps."""
    torch.manual_seed(0)
    run = Run(options_of(folder), torch.nn.Linear(4, 4))

    def loss_of(generator: torch.Generator) -> torch.Tensor:
        if run.step == ended_at:
            os.kill(os.getpid(), signal.SIGTERM)
        loss: torch.Tensor = run.network(torch.randn(8, 4, generator=generator)).square().mean()
        return loss

    run.train(loss_of, lambda: {})
    return run


def test_an_interrupted_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        whole = train_small(tmp_path / "whole")
        assert train_small(tmp_path / "ended", ended_at=2).step == 3
        resumed = train_small(tmp_path / "ended")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert resumed.step == whole.step == 6
    for one, other in ((whole.network, resumed.network), (whole.averaged, resumed.averaged)):
        assert torch.equal(one.weight, other.weight)


def test_a_run_by_time_ends_when_the_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock where each step takes ten seconds, with the last inspection and the end of the schedule."""
    options, clock, inspected = options_of(tmp_path), itertools.count(step=10), []
    options.minutes, options.steps = 1.0, 10_000
    monkeypatch.setattr("editkit_emoji.training.run.time.perf_counter", lambda: next(clock))
    run = Run(options, torch.nn.Linear(4, 4))

    def inspect() -> dict[str, float]:
        inspected.append(run.step)
        return {}

    run.train(lambda generator: run.network(torch.ones(1, 4)).square().mean(), inspect)
    assert (run.step, run.progress, inspected) == (6, 1.0, [3, 6])
    assert run.rate() == pytest.approx(0, abs=1e-9)


@pytest.fixture
def rendered(tmp_path: Path) -> Path:
    """A data folder of squares in several sizes and colours, some of them held out."""
    emojis = [
        Emoji("flat", f"{word} thing {n}", f"{word} thing {n}", None) for n in range(30) for word in ("red", "blue")
    ]
    assert {emoji.held_out for emoji in emojis} == {False, True}
    images = [square((200 - n, n, 3 * n), side=4 + n % 5) for n in range(len(emojis))]
    for name, each in zip(("pictures", "alpha"), zip(*images, strict=True), strict=True):
        np.save(tmp_path / f"{name}-{SIZE}.npy", np.stack(each))
    (tmp_path / "pictures.json").write_text(json.dumps([dc.asdict(emoji) for emoji in emojis]))
    return tmp_path


@pytest.mark.slow
def test_packed_artwork_and_weights_come_back(rendered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed, there = rendered / "packed", rendered / "there"
    tokenizer, vae = new_tokenizer(artwork().emojis), new_autoencoder(SIZE, (8, 32), 4)
    network = new_network(tokenizer, 4, 8, (16, 32))
    network.unet = with_image_channels(network.unet)
    write_models(network, vae, tokenizer, rendered)
    monkeypatch.setattr(packing, "load_instruct", lambda: rendered / "instruct")
    monkeypatch.setattr(packing, "CONTROLNET", rendered / "instruct" / "unet")
    for action, folder in (("pack", rendered), ("unpack", there)):
        argv = f"_ {action} --data {folder} --size {SIZE} --packed {packed}"
        monkeypatch.setattr(sys, "argv", argv.split())
        packing.main()
    for file in (f"pictures-{SIZE}.npy", f"alpha-{SIZE}.npy"):
        assert np.array_equal(np.load(there / file), np.load(rendered / file))
    assert data.load(there, SIZE)[0] == data.load(rendered, SIZE)[0]
    folders = rendered / "instruct", there / "models" / "instruct"
    before, after = (AutoencoderKL.from_pretrained(folder, subfolder="vae") for folder in folders)
    image = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(before.encode(image).latent_dist.mode(), after.encode(image).latent_dist.mode())
    assert (there / "models" / "controlnet" / "config.json").exists()
    old, new = (read_network(folder).state_dict() for folder in folders)
    for name, weight in old.items():
        error, step = (
            (part.flatten(1) if part.ndim > 1 else part[None]).abs().amax(1) for part in (new[name] - weight, weight)
        )
        assert bool((error <= 0.51 * step / packing.LEVELS + 1e-3 * step).all()), name
    rounded = [name for name, weight in old.items() if not torch.equal(new[name], weight)]
    assert rounded and all(old[name].numel() >= packing.SMALLEST_ROUNDED for name in rounded)


@pytest.mark.slow
def test_the_scripts_train_hold_latents_and_write_a_model(rendered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoiser, "INSPECTED", 1)
    monkeypatch.setattr(denoiser, "EDITED", 2)
    monkeypatch.setattr(autoencoder, "INSPECTED", 1)
    run, schedule = rendered / "run", "--batch 8 --steps 2 --inspections 1"
    common = f"--data {rendered} --size {SIZE} --threads 1 --device cpu {schedule}"
    new_autoencoder(SIZE, (8, 8)).save_pretrained(rendered / "vae")
    argv = f"_ {common} --run {run}/vae --start {rendered}/vae --hold 1.0"
    monkeypatch.setattr(sys, "argv", argv.split())
    autoencoder.main()
    argv = f"_ {common} --run {run}/denoiser --vae {run}/vae/weights --widths 16 32 --texts 50"
    monkeypatch.setattr(sys, "argv", argv.split())
    denoiser.main()
    figures = json.loads((run / "denoiser" / "log.jsonl").read_text().splitlines()[-1])
    assert {"unseen_in_place", "unseen_moved", "unseen_moved_silent", "success_shifted"} <= figures.keys()
    pipeline = StableDiffusionPipeline.from_pretrained(run / "denoiser" / "model")
    assert pipeline.unet.config.sample_size == SIZE // 2
    editor = StableDiffusionInstructPix2PixPipeline.from_pretrained(run / "denoiser" / "instruct")
    assert editor.unet.config.in_channels == 2 * pipeline.unet.config.in_channels


@pytest.mark.model
def test_evaluate_measures_the_pairs_as_the_training_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Emoji, "held_out", True)
    works, text = artwork(), "prompt-edit:steps=1,frame=off"
    (tmp_path / "pictures.json").write_text(json.dumps([dc.asdict(one) for one in works.emojis]))
    np.save(tmp_path / f"pictures-{SIZE}.npy", works.pixels)
    np.save(tmp_path / f"alpha-{SIZE}.npy", works.alpha)
    data = f"emoji-pairs:scenery=shifted,pairs=3,size={SIZE}"
    call = ["evaluate", str(tmp_path), "--dataset", data, "-o", str(tmp_path / "out"), "--method", text, "--json"]
    result = CliRunner().invoke(main, call)
    assert result.exit_code == 0, result.output
    bound, floor, row = json.loads(result.stdout)["rows"]
    assert (bound["n"], floor["method"]) == (3, f"blind floor ({cases.FLOOR})")
    pairs = cases.select_pairs(works, "first", ATTRIBUTES)
    make = methods.method_of(text, evaluate.BUNDLED, None)
    scores = [evaluate.score(one, make(one), one.truth) for one in cases.cases_of(works, pairs, "shifted", 3)]
    assert row["n"] == len(scores) == 3
    for name, of in (("success", np.mean), ("progress", np.median), ("collateral", np.median)):
        assert row[name]["value"] == pytest.approx(of([getattr(one, name) for one in scores]), abs=1e-9)
    first = evaluation.open_dataset(data, tmp_path)[0]
    assert first.name.startswith("shifted: ")
    assert {first.source, first.target} <= {one.caption for one in works.emojis}
