"""Outpainting: the size is the arithmetic one, the source stays bit for bit, and its border does not show.

The jump across a seam is the mean of |first new row - border row| over all pixels of the seam and their channels, in
8-bit levels. It is compared with the same mean between neighbouring rows of the source (for the left and the right
side, columns). Both images are rounded to whole levels, which accounts for half a level.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import editkit
from editkit.editing.results.composing import compose_resized
from editkit.testing import ToyBackend

IMAGES = Path(__file__).parents[1] / "pictures"
SIDES = ("left", "right", "top", "bottom")
CAPTIONS = (
    "3d detective medium skin tone",
    "flat person kneeling",
    "gradient pink heart",
    "noto baby",
    "noto red apple",
    "noto red square",
)
ROUNDING = 0.5


def slope(size: tuple[int, int], deviation: float = 0.0) -> Image.Image:
    """An image that brightens from its left top to its right bottom, with a grain of some levels."""
    across, down = np.meshgrid(np.linspace(0, 90, size[0]), np.linspace(0, 90, size[1]))
    grain = np.random.default_rng(1).normal(0, deviation, (size[1], size[0], 3))
    return Image.fromarray(np.clip(40 + (across + down)[..., None] + grain, 0, 255).astype(np.uint8))


def load_image(caption: str) -> Image.Image:
    return editkit.open_image(IMAGES / f"{caption.replace(' ', '-')}.png").convert("RGB")


def outpaint(source: Any, model: editkit.Backend | None = None, **params: Any) -> editkit.Result:
    result = editkit.apply("outpaint", source, model=model or ToyBackend(), **{"seed": 0, "steps": 2, **params})
    assert isinstance(result, editkit.Result)
    return result


def keeps_source(result: editkit.Result, source: Image.Image, left: int = 0, top: int = 0) -> bool:
    part = result.image.crop((left, top, left + source.width, top + source.height))
    return result.report.untouched_max_diff == 0 and part.tobytes() == source.tobytes()


def jump(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(one.astype(float) - other).mean())


def seams(result: Image.Image, source: Image.Image, **margins: int) -> dict[str, tuple[float, float]]:
    """For each side that grew, the jump across its seam and the typical jump of the source."""
    pixels, inside = np.asarray(result), np.asarray(source)
    left, top = margins.get("left", 0), margins.get("top", 0)
    right, bottom = left + source.width, top + source.height
    of_columns, of_rows = jump(inside[:, 1:], inside[:, :-1]), jump(inside[1:], inside[:-1])
    found = {
        "left": lambda: (jump(pixels[top:bottom, left - 1], inside[:, 0]), of_columns),
        "right": lambda: (jump(pixels[top:bottom, right], inside[:, -1]), of_columns),
        "top": lambda: (jump(pixels[top - 1, left:right], inside[0]), of_rows),
        "bottom": lambda: (jump(pixels[bottom, left:right], inside[-1]), of_rows),
    }
    return {side: measured() for side, measured in found.items() if margins.get(side)}


def assert_no_seam(result: editkit.Result, source: Image.Image, **margins: int) -> None:
    for side, (across, typical) in seams(result.image, source, **margins).items():
        assert across <= typical + ROUNDING, f"{side}: {across:.2f} levels, the source has {typical:.2f}"


@pytest.mark.parametrize("sides", [s for n in (1, 2, 4) for s in itertools.combinations(SIDES, n)], ids="-".join)
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (37, 61)], ids=str)
def test_the_result_has_the_arithmetic_size_and_the_source_in_it(
    size: tuple[int, int], sides: tuple[str, ...], random_image: Any
) -> None:
    margins = {side: 3 + 4 * SIDES.index(side) for side in sides}
    left, right, top, bottom = (margins.get(side, 0) for side in SIDES)
    result = outpaint(random_image(size), **margins)
    assert result.image.size == (size[0] + left + right, size[1] + top + bottom) == result.report.output_size
    assert keeps_source(result, random_image(size), left, top)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (37, 61), (300, 20)], ids=str)
def test_real_models_extend_an_image_of_any_size(
    tiny_model: editkit.Backend, size: tuple[int, int], random_image: Any
) -> None:
    result = outpaint(random_image(size), tiny_model, left=5, bottom=9, prompt="a red apple")
    assert result.image.size == (size[0] + 5, size[1] + 9)
    assert keeps_source(result, random_image(size), 5)


@pytest.mark.parametrize(("source", "right"), [((64, 64), 300), ((1, 1), 100), ((9, 40), 301)], ids=str)
def test_margins_beyond_the_model_s_size_are_filled_completely(
    source: tuple[int, int], right: int, random_image: Any
) -> None:
    result = outpaint(random_image(source), right=right, prompt="a red apple")
    assert result.image.size == (source[0] + right, source[1])
    assert keeps_source(result, random_image(source))
    # Empty pixels would be black; the toy model samples around the colour of its prompt.
    columns = np.asarray(result.image)[:, source[0] :].max(axis=(0, 2))
    assert columns.min() > 0


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_adding_nothing_gives_the_source_without_a_network_call(mode: str, random_image: Any) -> None:
    result = outpaint(random_image((37, 61), mode))
    assert result.image.mode == mode
    assert keeps_source(result, random_image((37, 61), mode))
    assert result.report.network_calls == 0


def test_a_margin_that_the_model_sees_at_less_than_a_pixel_is_named(random_image: Any) -> None:
    source = random_image((100, 20), "RGB")
    (warning,) = outpaint(source, right=5).report.warnings
    assert "the widest added part is 5 pixels, which are 0.8 at the scale" in warning
    needed = int(warning.partition("resolution= of ")[2].split()[0])
    assert not outpaint(source, right=5, resolution=needed).report.warnings
    assert (
        not outpaint(source, right=5, top=40).report.warnings
        and not outpaint(source.crop((0, 0, 8, 8)), right=1).report.warnings
    )


def test_alpha_is_kept_and_new_pixels_are_opaque(random_image: Any) -> None:
    source = random_image((20, 14), "RGBA")
    result = outpaint(source, left=6, bottom=7)
    assert keeps_source(result, source, 6)
    alpha = np.asarray(result.image.getchannel("A"))
    assert (alpha[:, :6] == 255).all()
    assert (alpha[14:] == 255).all()


def test_around_a_clear_border_white_stays_clear_and_a_drawing_is_opaque() -> None:
    source = Image.new("RGBA", (24, 20))
    source.paste((200, 30, 30, 255), (6, 5, 18, 15))
    blue = torch.ones(1, 3, 20, 40)
    blue[..., 6:15, 29:37] = torch.tensor([0.1, 0.2, 0.8])[:, None, None]
    blue[..., 9:11, 32:34] = 1
    drawn = np.array(compose_resized(editkit.PixelEdit(blue, place=(0, 0)), source))
    assert np.array_equal(drawn[:, :24], np.asarray(source))
    expected = np.zeros((20, 16), np.uint8)
    expected[6:15, 5:13] = 255
    assert np.array_equal(drawn[:, 24:, 3] > 127, expected > 127)
    assert (drawn[9:11, 32:34] == 255).all(), "white inside a drawing belongs to it"
    source.putalpha(255)
    assert (np.asarray(compose_resized(editkit.PixelEdit(blue, place=(0, 0)), source))[..., 3] == 255).all()


@pytest.mark.slow
def test_the_seed_and_the_recipe_give_the_same_pixels(
    tiny_model: editkit.Backend, tmp_path: Path, random_image: Any
) -> None:
    params: dict[str, Any] = {"left": 20, "top": 9, "right": 50, "prompt": "red", "sampler": "ddpm"}
    first, second = (outpaint(random_image((33, 17)), tiny_model, **params) for _ in range(2))
    again = editkit.replay(first.save(tmp_path / "first.png", recipe="full"), model=tiny_model)
    other = outpaint(random_image((33, 17)), tiny_model, **{**params, "seed": 1})
    assert first.image.tobytes() == second.image.tobytes() == again.image.tobytes()
    assert other.image.tobytes() != first.image.tobytes()


@pytest.mark.slow
def test_network_calls_grow_with_the_new_area_and_not_with_the_source() -> None:
    def calls(width: int, **params: Any) -> int:
        return outpaint(slope((width, 64)), resample=1, guidance=1.0, resolution=16, **params).report.network_calls

    few, more, most = (calls(64, right=amount) for amount in (32, 320, 640))
    assert few == 2
    assert more == 10 * few
    assert most == 20 * few
    assert outpaint(slope((64, 64)), right=32, resample=3).report.network_calls == 3 * few


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"left": -1}, r"left=-1 is not allowed"),
        ({"top": 16385}, r"top=16385 is not allowed"),
        ({"bottom": 1.5}, r"bottom=1.5 is not allowed"),
        ({"left": 16384}, r"16421 x 61 pixels is too large"),
        ({"right": 8000, "bottom": 8000}, r"8037 x 8061 pixels is too large"),
        ({"mask": Image.new("L", (37, 61))}, r"no parameter 'mask'"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_impossible_margins_are_refused_in_one_line(params: dict[str, Any], message: str, random_image: Any) -> None:
    with pytest.raises(editkit.InvalidParameter, match=message) as raised:
        outpaint(random_image((37, 61)), **params)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
@pytest.mark.parametrize("prompt", ["", "a red apple"])
@pytest.mark.parametrize("grain", [0.0, 12.0], ids=["plain", "grain"])
def test_no_seam_shows_for_any_model(tiny_model: editkit.Backend, prompt: str, grain: float) -> None:
    source, margins = slope((40, 40), grain), dict.fromkeys(SIDES, 21)
    for model in (tiny_model, ToyBackend()):
        assert_no_seam(outpaint(source, model, prompt=prompt, **margins), source, **margins)


def test_a_plain_border_goes_on_plain(tiny_model: editkit.Backend) -> None:
    source, margins = Image.new("RGB", (24, 24), (250, 240, 20)), dict.fromkeys(SIDES, 12)
    for model in (tiny_model, ToyBackend()):
        found = seams(outpaint(source, model, prompt="a red apple", **margins).image, source, **margins)
        assert max(across for across, _ in found.values()) == 0


@pytest.mark.model
@pytest.mark.parametrize("caption", CAPTIONS)
@pytest.mark.parametrize("crop", [None, (16, 16, 48, 48)], ids=["whole", "crop"])
def test_no_seam_shows_on_held_out_images(
    caption: str, crop: tuple[int, int, int, int] | None, bundled_model: editkit.Backend
) -> None:
    source = load_image(caption).crop(crop) if crop else load_image(caption)
    margins = dict.fromkeys(SIDES, source.width // 2)
    result = outpaint(source, bundled_model, prompt=caption, steps=8, **margins)
    assert_no_seam(result, source, **margins)


@pytest.mark.model
@pytest.mark.parametrize("side", SIDES)
def test_no_seam_shows_in_bands_on_one_side(side: str, bundled_model: editkit.Backend) -> None:
    source = load_image("noto red apple").crop((16, 16, 48, 48))
    result = outpaint(source, bundled_model, prompt="noto red apple", steps=4, **{side: 100})
    assert_no_seam(result, source, **{side: 100})


@pytest.mark.model
def test_a_cut_off_part_is_generated_again(bundled_model: editkit.Backend) -> None:
    """An image's rim, sampled from its middle, is nearer to the true one than the middle's repeated border is."""
    nearer = []
    for caption in CAPTIONS:
        whole = np.asarray(load_image(caption), dtype=float)
        middle = whole[16:48, 16:48]
        extended = outpaint(
            Image.fromarray(middle.astype(np.uint8)),
            bundled_model,
            prompt=caption,
            steps=10,
            **dict.fromkeys(SIDES, 16),
        ).image
        repeated = np.pad(middle, ((16, 16), (16, 16), (0, 0)), mode="edge")
        nearer.append(jump(np.asarray(extended), whole) < jump(repeated, whole))
    assert sum(nearer) > len(nearer) / 2
