"""Laws of transparent results: they show the result on white, and hold nothing of the white on another ground."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from editkit.images.stored.image import StoredImage, mix_stored
from editkit.images.stored.transparency import add_change, drawn_share, least_painted

RED, GREEN = (np.array(colour, np.float32) for colour in ((0.8, 0.1, 0.1), (0.1, 0.7, 0.2)))
Values = NDArray[np.float32]


def disc(radius: float, soft: float = 1.0, side: int = 48) -> Values:
    """Alpha (H, W, 1) of a disc whose edge is ``soft`` pixels wide."""
    down, across = np.mgrid[:side, :side] - (side - 1) / 2
    return ((radius - np.hypot(down, across)) / soft + 0.5).clip(0, 1).astype(np.float32)[..., None]


def on(ground: float, colours: Values, alpha: Values) -> Values:
    return colours * alpha + ground * (1 - alpha)


def random_image(alpha: bool = True, depth: type = np.uint8) -> StoredImage:
    levels = np.random.default_rng(0).integers(0, np.iinfo(depth).max, (9, 7, 4 if alpha else 3), depth, True)
    return StoredImage(levels)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_change_of_nothing_keeps_every_level_also_under_full_transparency(depth: type) -> None:
    image = random_image(depth=depth)
    image.levels[:3, :, 3] = 0
    change = np.zeros((9, 7, 3), np.float32)
    change[5, 3] = 0.1
    after = image.with_change(change).levels
    assert np.array_equal(after[change[..., 0] == 0], image.levels[change[..., 0] == 0])
    assert np.array_equal(after[..., 3], image.levels[..., 3])


def test_a_result_shows_its_change_on_white_wherever_alpha_allows() -> None:
    alpha = np.linspace(0, 1, 48, dtype=np.float32)[None, :, None].repeat(8, 0)
    colours, reference = np.broadcast_to(RED, (8, 48, 3)), np.broadcast_to(GREEN, (8, 48, 3))
    change = on(1, reference, alpha) - on(1, colours, alpha)
    after, after_alpha = add_change(colours, alpha, change)
    assert np.array_equal(alpha, after_alpha)
    assert np.allclose(on(1, after, alpha), on(1, reference, alpha), rtol=0, atol=1e-5)
    assert np.allclose(after[:, 2:], reference[:, 2:], rtol=0, atol=1e-4)


def test_contours_take_the_new_colour_though_the_model_draws_them_elsewhere() -> None:
    alpha, model_alpha = disc(15), disc(15.7, soft=4)
    colours = np.broadcast_to(RED, (48, 48, 3))
    change = on(1, np.broadcast_to(GREEN, colours.shape), model_alpha) - on(1, colours, model_alpha)
    after, _ = add_change(colours, alpha, change)
    edge = ((alpha > 0) & (alpha < 1))[..., 0]
    inside = (alpha == 1)[..., 0]
    near = after[inside & (disc(13) < 1)[..., 0]].mean(0)
    assert edge.sum() > 80 and np.abs(after[edge] - near).max() < 0.15


def test_a_shadow_beside_a_contour_keeps_its_colour() -> None:
    alpha = np.maximum(disc(12), 0.3 * disc(14))
    colours = np.where(disc(12) > 0, RED, np.float32(0))
    change = np.broadcast_to(np.float32([-0.3, 0.2, 0]), colours.shape) * (alpha > 0)
    after, _ = add_change(colours, alpha, change)
    shadow = ((disc(12) == 0) & (alpha > 0))[..., 0]
    assert shadow.sum() > 100 and np.abs(after - colours)[shadow].max() == 0


def test_rounding_where_nothing_changes_leaves_contours_as_they_are() -> None:
    alpha, colours = disc(15), np.broadcast_to(RED, (48, 48, 3))
    change = np.zeros_like(colours)
    change[:, :24] = 0.1 * alpha[:, :24]
    exact, _ = add_change(colours, alpha, change)
    rounded, _ = add_change(colours, alpha, change + np.float32(1e-7) * alpha)
    assert np.abs(exact - rounded).max() < 1e-5


def test_a_painted_hole_is_opaque_and_a_soft_one_is_laid_over() -> None:
    alpha = 1 - disc(10)
    colours = np.broadcast_to(RED, (48, 48, 3))
    edited = np.broadcast_to(GREEN, (48, 48, 3))
    for opacity in (np.float32(1), np.float32(0.5)):
        painted = np.full_like(alpha, opacity)
        change = opacity * (edited - on(1, colours, alpha))
        after, after_alpha = add_change(colours, alpha, change, painted)
        assert np.allclose(after_alpha, alpha + opacity * (1 - alpha), rtol=0, atol=1e-6)
        for ground in (0.0, 1.0):
            expected = (1 - opacity) * on(ground, colours, alpha) + opacity * edited
            assert np.allclose(on(ground, after, after_alpha), expected, rtol=0, atol=1e-5)


def test_a_drawing_on_white_is_opaque_inside_and_its_ground_stays_clear() -> None:
    shape = disc(14)
    on_white = on(1, np.broadcast_to(GREEN, (48, 48, 3)), shape)
    on_white[20:26, 20:26] = 1  # a highlight
    clear = np.zeros_like(shape)
    drawn = drawn_share(on_white, clear, np.ones((48, 48), dtype=bool) & (shape[..., 0] == 0))
    assert (drawn[shape == 0] == 0).all() and (drawn[disc(11) == 1] == 1).all()
    colours, alpha = add_change(np.ones_like(on_white), clear, on_white - 1, drawn)
    visible = (alpha > 0.1)[..., 0]
    assert np.abs(on(1, colours, alpha) - on_white).max() < 0.06
    assert np.abs(on(1, colours, alpha) - on_white)[visible].max() < 0.02


def test_mixtures_are_premultiplied() -> None:
    red, green = (np.dstack([np.full((4, 4, 3), colour, np.uint8)] * 1) for colour in (200, 50))
    opaque = StoredImage(np.dstack([red, np.full((4, 4), 255, np.uint8)]))
    clear = StoredImage(np.dstack([green, np.zeros((4, 4), np.uint8)]))
    nothing = np.zeros((4, 4, 3), np.float32)
    mixed = mix_stored([opaque, clear], [0.5, 0.5], nothing).levels
    assert (mixed[..., :3] == 200).all() and (np.abs(mixed[..., 3].astype(int) - 127.5) <= 0.5).all()
    image = random_image()
    again = mix_stored([image, image], [0.25, 0.75], np.zeros((9, 7, 3), np.float32)).levels
    assert np.array_equal(again, image.levels)


def test_a_mixture_is_as_opaque_as_its_change_needs() -> None:
    image = random_image()
    before = image.on_white()
    reference = np.full_like(before, 0.3)
    mixed = mix_stored([image, image], [0.5, 0.5], reference - before)
    assert np.abs(mixed.on_white() - reference).max() < 1.5 / 255


def test_the_least_painted_share_shows_any_colour_on_white() -> None:
    values = np.random.default_rng(1).random((20, 20, 4), dtype=np.float32)
    on_white, alpha = values[..., :3], values[..., 3:]
    painted = least_painted(on_white, alpha)
    assert ((alpha + painted * (1 - alpha) - (1 - on_white.min(-1, keepdims=True))) > -1e-5).all()
