"""Laws of the canvas: ordinary images as a whole, long ones in windows, and a chosen size obeyed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import editkit
from editkit.images.canvas import Box, Canvas, marked_box, part_boxes
from editkit.sampling.windows import evaluate_in_windows, window_starts
from editkit.testing import ToyBackend
from editkit.testing.suite import sample_image

NATIVE, MULTIPLE = 64, 8
LONG = [(1024, 64), (64, 1024), (2000, 100), (4000, 1), (1, 4000), (300, 20), (257, 64), (64, 7)]


def planned(size: tuple[int, int], longest: int | None = None) -> Canvas:
    return Canvas.plan_native(size, NATIVE, MULTIPLE, longest)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (37, 61), (64, 64), (256, 64), (100, 400), (5, 1), (4000, 3000)])
def test_an_ordinary_image_is_scaled_as_a_whole(size: tuple[int, int]) -> None:
    assert planned(size) == Canvas.plan(size, NATIVE, MULTIPLE)
    assert planned(size).window is None


@pytest.mark.parametrize("size", LONG)
def test_a_long_image_keeps_a_floor_and_its_pixels(size: tuple[int, int]) -> None:
    canvas = planned(size)
    assert canvas.window is not None
    assert min(canvas.padded) >= NATIVE // 4
    assert min(canvas.work) >= min(NATIVE, *size)
    assert max(canvas.work) <= max(*size, 8 * NATIVE)
    assert max(canvas.window) <= NATIVE
    assert all(side % MULTIPLE == 0 for side in (*canvas.padded, *canvas.window))


@pytest.mark.parametrize("size", LONG)
def test_a_chosen_size_is_obeyed(size: tuple[int, int]) -> None:
    canvas = planned(size, longest=96)
    assert max(canvas.work) == 96
    assert canvas.window is None


@pytest.mark.parametrize(("length", "side"), [(64, 64), (65, 64), (1024, 64), (4000, 16), (7, 2), (3, 1)])
def test_windows_cover_everything_and_overlap(length: int, side: int) -> None:
    starts = window_starts(length, side)
    assert starts[0] == 0
    assert starts[-1] == length - side
    assert all(0 < step <= max(1, 0.75 * side) for step in np.diff(starts))


@pytest.mark.parametrize("shape", [(4, 40), (40, 4)])
def test_an_estimate_in_windows_of_a_local_network_is_that_of_the_whole(shape: tuple[int, int]) -> None:
    x, map_ = torch.rand(2, 3, *shape, dtype=torch.float64), torch.rand(1, 2, *shape, dtype=torch.float64)

    def network(part: Tensor, condition: dict[str, Tensor]) -> Tensor:
        return part * condition["image_latents"][:, :1] + condition["text"]

    condition = {"image_latents": map_, "text": torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64)}
    windows = evaluate_in_windows(network, x, condition, (4, 8) if shape[1] > 4 else (8, 4))
    assert torch.allclose(windows, network(x, condition), rtol=0, atol=1e-12)


class Sized(ToyBackend):
    """A toy model that records the sizes of what its network takes."""

    def __init__(self) -> None:
        super().__init__(native_size=16)
        self.taken: set[tuple[int, ...]] = set()

    def denoise(self, x: Tensor, *rest: Any) -> Tensor:
        self.taken.add(tuple(x.shape[2:]))
        return super().denoise(x, *rest)


def test_the_network_takes_a_long_image_in_windows_and_the_report_warns() -> None:
    model, image = Sized(), sample_image((160, 12))
    result = editkit.apply("img2img", image, model=model, strength=0.5, steps=4, seed=0)
    assert result.image.size == image.size
    assert model.taken == {(12, 16)}
    assert [text for text in result.report.warnings if "windows of 16 x 12" in text]
    whole = editkit.apply("img2img", image, model=model, strength=0.5, steps=4, seed=0, resolution=160)
    assert model.taken == {(12, 16), (12, 160)}
    assert whole.report.warnings == ()
    # The toy network is local, so that windows change nothing but the rounding.
    assert np.abs(np.asarray(whole.image, int) - np.asarray(result.image)).max() <= 1


@pytest.mark.parametrize("size", [(160, 12), (9, 200)])
def test_an_inversion_of_a_long_image_reaches_the_bound(size: tuple[int, int]) -> None:
    model = ToyBackend(native_size=16)
    report = editkit.apply("prompt-edit", sample_image(size), model=model, source="red", target="blue", steps=3).report
    assert report.recon_psnr == report.vae_psnr
    same = editkit.apply("prompt-edit", sample_image(size), model=model, source="red", target="red", steps=3)
    assert same.image.tobytes() == sample_image(size).tobytes()


def test_an_inversion_of_an_earlier_plan_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier versions scaled a long image like any other: its latents have another shape."""
    model = ToyBackend(native_size=16)
    with monkeypatch.context() as earlier:
        earlier.setattr(Canvas, "plan_native", lambda size, native, multiple, longest: Canvas.plan(size, 16, 1))
        inversion = editkit.invert(sample_image((160, 12)), prompt="red", model=model, steps=3)
    result = editkit.reconstruct(inversion, model=model)
    assert result.image.size == (160, 12)
    assert result.report.recon_psnr == result.report.vae_psnr


@pytest.mark.model
@pytest.mark.slow
def test_a_panorama_keeps_as_much_as_its_pieces_alone() -> None:
    files = sorted((Path(__file__).parents[1] / "pictures").glob("noto-*.png"))[:5]
    pieces = [editkit.open_image(file) for file in files]
    arguments = {"model": "emoji", "strength": 0.3, "steps": 4, "seed": 0, "prompt": "noto person"}
    before = side_by_side(pieces)
    alone = side_by_side([editkit.apply("img2img", piece, **arguments).image for piece in pieces])
    together = np.asarray(editkit.apply("img2img", Image.fromarray(before), **arguments).image, float)
    correlations = [np.corrcoef(before.ravel(), after.ravel())[0, 1] for after in (alone, together)]
    assert correlations[1] > correlations[0] - 0.05
    assert np.abs(np.diff(together, axis=1)).mean() > 0.9 * np.abs(np.diff(before.astype(float), axis=1)).mean()


def side_by_side(images: list[Image.Image]) -> np.ndarray:
    return np.concatenate([np.asarray(image) for image in images], 1)


def test_the_box_of_a_mask_holds_its_pixels_alone() -> None:
    mask = torch.zeros(1, 1, 20, 30)
    assert marked_box(mask) is None
    mask[..., 3, 7] = mask[..., 11, 5] = 0.1
    assert marked_box(mask) == (5, 3, 8, 12)


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([(10, 10)], "the mask marks 30 x 30 pixels"),
        ([(10, 10), (500, 560)], "the largest of 2 parts of the mask has 30 x 30 pixels"),
        ([(10, 10), (45, 10), (10, 45), (45, 45)], None),
    ],
)
def test_small_parts_of_a_mask_are_named_unless_they_are_one(boxes: list[tuple[int, int]], words: str | None) -> None:
    canvas, mask = Canvas.plan_native((600, 640), 64, 8), torch.zeros(1, 1, 640, 600)
    for left, top in boxes:
        mask[..., top : top + 30, left : left + 30] = 1
    warning = canvas.small_mask_warning(mask, 64)
    assert warning is None if words is None else str(warning).startswith(words)


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([(100, 100, 400, 400)], None),
        ([(100, 100, 400, 400), (500, 500, 505, 505)], None),
        ([(100, 100, 400, 400), (500, 500, 520, 510)], "one of 2 parts of the mask has 20 x 10 pixels"),
        ([(100, 100, 400, 400), (500, 500, 520, 510), (10, 10, 30, 40)], "2 of 3 parts of the mask are small"),
        ([(0, 300, 600, 304)], "the mask is at most about 4 pixels wide, which are 0.4 at the scale"),
        ([(0, 0, 600, 640)], None),
    ],
)
def test_small_parts_beside_large_ones_and_thin_masks_are_named(boxes: list[Any], words: str | None) -> None:
    canvas, mask = Canvas.plan_native((600, 640), 64, 8), torch.zeros(1, 1, 640, 600)
    for left, top, right, bottom in boxes:
        mask[..., top:bottom, left:right] = 1
    warning = canvas.small_mask_warning(mask, 64)
    assert warning is None if words is None else str(warning).startswith(words)


@pytest.mark.parametrize("near", [1, 2, 5, 8])
def test_parts_of_a_mask_are_found_where_they_are(near: int) -> None:
    mask, boxes = torch.zeros(1, 1, 60, 90), [Box(15, 10, 25, 20), Box(60, 40, 80, 45)]
    for box in boxes:
        mask[..., box.top : box.bottom, box.left : box.right] = 1
    assert part_boxes(mask, near) == boxes
