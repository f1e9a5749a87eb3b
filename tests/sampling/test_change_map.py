"""Laws of the change map: the meaning of mask values, on latents and in pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import editkit
from editkit import Point, with_resampling
from editkit.images.blending.compositing import apply_difference, colour_correction
from editkit.images.canvas import Canvas
from editkit.images.masks.tensors import mask_opacity, mask_tensor, mask_to_latents
from editkit.sampling.change_map import NoisedSourceChangeMap
from editkit.sampling.controls import check_compatible
from editkit.testing import ToyBackend
from editkit.testing.suite import sample_image

SIZE = (24, 16)


def redrawn(mask: Any, strength: float = 0.8, **more: Any) -> Tensor:
    result = editkit.apply(
        "img2img",
        sample_image(SIZE),
        model=ToyBackend(native_size=24),
        mask=mask,
        prompt="a red apple",
        strength=strength,
        steps=20,
        seed=3,
        guidance=1.0,
        **more,
    )
    assert result.latents is not None
    return result.latents


def flat(value: float) -> np.ndarray:
    return np.full((SIZE[1], SIZE[0]), value, np.float32)


@pytest.mark.parametrize("sampler", list(editkit.samplers()))
def test_a_full_map_is_no_map(sampler: str) -> None:
    assert torch.equal(redrawn(flat(1), sampler=sampler), redrawn(None, sampler=sampler))


@pytest.mark.parametrize("sampler", list(editkit.samplers()))
def test_an_empty_map_holds_every_latent(sampler: str) -> None:
    kept = redrawn(flat(0), sampler=sampler)
    assert torch.allclose(kept, redrawn(None, strength=0.0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("value", [0, 0.5, 1])
def test_a_step_that_ends_where_it_starts_is_walked(value: float) -> None:
    # The last step of this grid is at the schedule's lowest noise, where the path ends.
    arguments: dict[str, Any] = {"model": ToyBackend(native_size=24), "steps": 2, "seed": 3, "spacing": "linspace"}
    edited = editkit.apply("img2img", sample_image(SIZE), strength=0.5, mask=flat(value), **arguments)
    assert edited.report.network_calls == 1


@pytest.mark.parametrize("share", [1 / 16, 0.25, 0.5, 0.75])
def test_an_even_map_is_an_edit_of_that_share_of_the_strength(share: float) -> None:
    # 8 bits hold 0.25 as 64/255: the nearest whole step is meant by both.
    held = redrawn(flat(share), sampler="ddim")
    assert torch.allclose(held, redrawn(None, strength=0.8 * share, sampler="ddim"), rtol=0, atol=1e-9)


def test_a_soft_map_is_no_threshold() -> None:
    ramp = np.tile(np.linspace(0, 1, SIZE[0], dtype=np.float32), (SIZE[1], 1))
    change = (redrawn(ramp) - redrawn(None, strength=0.0)).abs().mean((0, 1, 2))
    levels = change.reshape(6, 4).mean(1)
    assert levels[0] < 0.4 * levels[-1]
    assert len({round(float(level), 6) for level in levels}) == 6
    assert not torch.allclose(redrawn(ramp), redrawn((ramp > 0.5).astype(np.float32)), atol=1e-3)


def test_no_masked_pixel_is_lost_on_the_way_to_latents() -> None:
    for size in ((1, 1), (7, 5), (64, 48), (300, 200)):
        canvas = Canvas.plan(size, 64, 8)
        for place in ((0, 0), (size[1] - 1, size[0] - 1), (size[1] // 2, size[0] // 3)):
            mask = torch.zeros(1, 1, size[1], size[0])
            mask[0, 0, place[0], place[1]] = 0.7
            change = mask_to_latents(mask, canvas, (canvas.padded[1] // 8, canvas.padded[0] // 8))
            assert float(change.max()) == pytest.approx(0.7)


def test_a_feathered_mask_fades_inward_and_stays_empty_outside() -> None:
    mask = Image.new("L", (40, 30))
    mask.paste(255, (10, 0, 40, 30))
    soft = mask_tensor(mask, 6)
    assert float(soft[..., :10].max()) == 0
    assert bool((soft[0, 0, 15].diff() >= 0).all())
    assert float(soft[0, 0, 15, 39]) == 1


def test_pixels_show_all_from_one_half_on_and_nothing_at_zero() -> None:
    assert mask_opacity(torch.tensor([0.0, 0.25, 0.5, 1.0])).tolist() == [0, 0.5, 1, 1]


def test_a_path_with_resampling_is_held_alike() -> None:
    path = (Point(0.0, 1.0), Point(0.6, 0.8), Point(0.8, 0.6), Point(1.0, 0.0))
    held, jumping = (
        NoisedSourceChangeMap(torch.full((1, 1, 1, 1), 0.5), way, torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1))
        for way in (path, with_resampling(path, 3))
    )
    x = torch.full((1, 1, 1, 1), 9.0)
    for index, point in enumerate(path[1:]):
        there = next(i for i, other in enumerate(jumping.path[1:]) if other == point)
        assert torch.equal(held.after_step(index, x), jumping.after_step(there, x))


def test_a_colour_shift_of_the_autoencoder_is_corrected_inside_the_mask() -> None:
    canvas = Canvas.plan((48, 48), 48, 8)
    source = torch.full((1, 3, 48, 48), 0.8)
    shift = torch.tensor([0.06, -0.04, 0.02])[:, None, None]
    mask = torch.zeros(1, 1, 48, 48)
    mask[..., 12:36, 12:36] = 1
    drawn = torch.where(mask > 0, torch.full_like(source, 0.1), source) + shift
    laid = apply_difference(canvas, source, drawn, source + shift, mask)
    assert torch.allclose(colour_correction(canvas, source, drawn, mask)[0, :, 24, 24], -shift[:, 0, 0], atol=1e-4)
    assert torch.allclose(laid[..., 20:28, 20:28], torch.full((1, 3, 8, 8), 0.1), atol=1e-3)
    assert torch.allclose(laid[..., :4], source[..., :4], atol=1e-6)


def test_five_masked_edits_in_a_row_touch_nothing_twice() -> None:
    """Every edited pixel equals the result of its one edit: later edits neither blur nor shift it."""
    start = image = sample_image((40, 40))
    expected = np.asarray(start).copy()
    for step in range(5):
        mask = Image.new("L", image.size)
        mask.paste(255, (8 * step, 4, 8 * step + 7, 20))
        inside = np.asarray(mask) > 0
        image = editkit.apply(
            "img2img", image, model=ToyBackend(native_size=24), mask=mask, prompt="blue", steps=4, seed=step
        ).image
        assert (np.asarray(image)[inside] != expected[inside]).any()
        expected[inside] = np.asarray(image)[inside]
    assert np.array_equal(np.asarray(image), expected)


def test_two_controls_that_exclude_each_other_are_refused_by_name() -> None:
    trajectory, shares = torch.zeros(3, 1, 3, 4, 4), torch.ones(1, 1)
    pinned = editkit.PinnedSource(trajectory, shares)

    class Elsewhere(editkit.Control):
        exclusive_over = frozenset({"the source branch"})

    with pytest.raises(editkit.InvalidParameter, match="PinnedSource and Elsewhere contradict each other"):
        check_compatible([pinned, editkit.Control(), Elsewhere()])
