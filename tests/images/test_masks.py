"""Laws of opening masks: every way to draw one box gives the same mask, and a guess is named in a warning."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from editkit.editing.params import EditParams
from editkit.errors import BadImage, InvalidParameter
from editkit.images.image_params import open_image_params
from editkit.images.masks.feather import fade_edges, feather_note
from editkit.images.masks.reading import Mask, open_mask, read_mask
from editkit.images.reading import open_image
from editkit.testing.profiles import WIDE

SIZE = (40, 30)
BOX = np.zeros((30, 40), dtype=bool)
BOX[8:20, 10:25] = True
RED, WHITE, BLACK = (255, 0, 0), (255, 255, 255), (0, 0, 0)
PHOTO = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)


def levels(mask: Mask) -> NDArray[np.uint8]:
    return np.asarray(mask.levels)


def layer(colour: Any, inside: int, outside: int) -> Image.Image:
    """One colour, or the colours of an array, with an alpha in the box and another around it."""
    colours = np.broadcast_to(np.asarray(colour, dtype=np.uint8), (30, 40, 3))
    return Image.fromarray(np.dstack([colours, np.where(BOX, inside, outside).astype(np.uint8)]))


def two_colours(marked: Any, ground: Any) -> Image.Image:
    return Image.fromarray(np.where(BOX[..., None], np.uint8(marked), np.uint8(ground)))


def palette(colours: list[int], index: int = 1) -> Image.Image:
    image = Image.fromarray(np.where(BOX, index, 0).astype(np.uint8))
    image = image.convert("P")
    image.putpalette(colours)
    return image


def stored(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def grey_file(inside: int, outside: int, dtype: Any) -> bytes:
    return stored(Image.fromarray(np.where(BOX, inside, outside).astype(dtype)))


VOID = np.where(BOX, 15, 0).astype(np.uint8)
VOID[7, 10:25] = 255

OBVIOUS: dict[str, Any] = {
    "white on black": grey_file(255, 0, np.uint8),
    "white on #010101": grey_file(255, 1, np.uint8),
    "#fefefe on #030303": two_colours((254, 254, 254), (3, 3, 3)),
    "16 bits": grey_file(65535, 0, np.uint16),
    "16 bits with noise": grey_file(65200, 300, np.uint16),
    "1 bit": stored(Image.fromarray(BOX)),
    "JPEG": stored(Image.fromarray(BOX).convert("L"), "JPEG", quality=90),
    "white on clear": layer(WHITE, 255, 0),
    "grey palette": palette([0, 0, 0, 255, 255, 255]),
    "booleans": BOX,
    "uint8": BOX.astype(np.uint8) * 255,
    "int64": BOX.astype(np.int64) * 255,
    "float32": BOX.astype(np.float32),
    "float with rounding": BOX * 1.000001,
    "last axis of 1": BOX[..., None],
    "three channels of int64": np.dstack([BOX] * 3).astype(np.int64) * 255,
    "three channels of 0 to 255": np.dstack([BOX] * 3) * 255.0,
    "four channels of 0 and 1": np.dstack([BOX] * 4).astype(np.uint8),
}
GUESSED: dict[str, tuple[Any, str]] = {
    "black on clear": (layer(BLACK, 255, 0), "strokes on a transparent layer"),
    "red on clear": (layer(RED, 255, 0), "strokes on a transparent layer"),
    "red on clear white": (layer(np.where(BOX[..., None], RED, WHITE), 255, 0), "strokes on a transparent layer"),
    "yellow on clear": (layer((255, 255, 0), 255, 0), "strokes on a transparent layer"),
    "light grey on clear": (layer((220,) * 3, 255, 0), "strokes on a transparent layer"),
    "colours on clear": (layer(PHOTO, 255, 0), "strokes on a transparent layer"),
    "grey and clear": (layer((128,) * 3, 255, 0).convert("LA"), "strokes on a transparent layer"),
    "hole in a photo": (layer(PHOTO, 0, 255), "an opaque layer with holes"),
    "hole in white": (layer(WHITE, 0, 255), "an opaque layer with holes"),
    "hole in black": (layer(BLACK, 0, 255), "an opaque layer with holes"),
    "0 and 1 in 8 bits": (grey_file(1, 0, np.uint8), "0 and 1 in place of 0 and 255"),
    "0 and 1 in 16 bits": (grey_file(1, 0, np.uint16), "0 and 1 in place of 0 and 255"),
    "label 7": (grey_file(7, 0, np.uint8), "numbers of classes up to 7"),
    "classes and a void contour": (VOID, "numbers of classes up to 15"),
    "uint8 of 0 and 1": (BOX.astype(np.uint8), "0 and 1 in place of 0 and 255"),
    "int64 of 0 and 1": (BOX.astype(np.int64), "0 and 1 in place of 0 and 255"),
    "float of 0 to 255": (BOX * 255.0, "read as levels of 0 to 255"),
    "8 bits in 16": (BOX.astype(np.uint16) * 255, "read as levels of 0 to 255"),
    "numbers of 16 bits": (np.where(VOID == 255, 5, np.where(BOX, 300, 0)).astype(np.uint16), "parts up to 300"),
    "VOC palette": (stored(palette([0, 0, 0, 128, 0, 0, 0, 128, 0])), "palette of colours"),
    "palette of levels": (stored(palette([i for i in range(256) for _ in "rgb"])), "0 and 1 in place"),
    "red on black": (two_colours(RED, BLACK), "has two colours"),
    "blue on black": (two_colours((0, 0, 255), BLACK), "has two colours"),
    "blue on yellow": (two_colours((0, 0, 255), (255, 255, 0)), "has two colours"),
    "red on black as JPEG": (stored(two_colours(RED, BLACK), "JPEG"), "has two colours"),
    "red on white": (two_colours(RED, WHITE), "has two colours"),
    "dark and light grey": (two_colours((235,) * 3, (16,) * 3), "read as black and white"),
    "red brush on the image": (np.where(BOX[..., None], np.uint8(RED), PHOTO), "a copy of the image"),
}


@pytest.mark.parametrize("source", OBVIOUS.values(), ids=OBVIOUS.keys())
def test_a_mask_of_white_on_black_is_read_without_a_word(source: Any) -> None:
    mask = open_mask(source, SIZE)
    difference = np.abs(levels(mask).astype(int) - 255 * BOX)
    assert (difference == 0).mean() > 0.99, "at most a few pixels at the edge of a JPEG"
    assert levels(mask)[:6].max() == 0 and levels(mask)[10:18, 12:23].min() == 255 and mask.notes == ()


@pytest.mark.parametrize(("source", "words"), GUESSED.values(), ids=GUESSED.keys())
def test_a_mask_drawn_otherwise_is_read_as_meant_and_says_how(source: Any, words: str) -> None:
    image = Image.fromarray(PHOTO) if "copy" in words else None
    mask = open_mask(source, SIZE, image=image)
    wrong = (levels(mask) > 127) != BOX
    assert wrong.mean() < 0.02, "random pixels of the photo may be red, and a contour has no class"
    assert len(mask.notes) == 1 and words in mask.notes[0] and re.search("1[4-6]% of the image", mask.notes[0])


@pytest.mark.parametrize("alpha", [64, 128])
def test_the_opacity_of_white_strokes_is_a_share_of_the_change(alpha: int) -> None:
    mask = open_mask(layer(WHITE, alpha, 0), SIZE)
    assert np.array_equal(levels(mask), alpha * BOX) and mask.notes == ()


def test_a_soft_mask_keeps_its_levels_between_floor_and_ceiling() -> None:
    ramp = np.tile(np.linspace(0, 255, 40).round().astype(np.uint8), (30, 1))
    expected = np.where(ramp <= 8, 0, np.where(ramp >= 247, 255, ramp))
    sources = (ramp, ramp / 255, ramp.astype(np.uint16) * 257, Image.fromarray(ramp), stored(Image.fromarray(ramp)))
    for source in sources:
        mask = open_mask(source, SIZE)
        assert np.array_equal(levels(mask), expected) and mask.notes == ()
    blurred = np.array([0, 4, 20, 60, 128, 195, 235, 251, 255], dtype=np.uint8)[None]
    assert levels(open_mask(blurred, (9, 1))).tolist() == [[0, 0, 20, 60, 128, 195, 235, 255, 255]]


@pytest.mark.parametrize("white", [1023, 4095])
def test_a_soft_mask_of_fewer_than_16_bits_keeps_its_shares(white: int) -> None:
    ramp = np.tile(np.linspace(0, white, 90).round().astype(np.uint16), (4, 1))
    mask = open_mask(ramp, (90, 4))
    assert np.abs(levels(mask) - ramp * (255 / white)).max() <= 9
    assert f"levels of 0 to {white}" in mask.notes[0]


@pytest.mark.parametrize(("level", "words"), [(20, "is dark"), (128, None), (235, "is not quite white: its brightest")])
def test_a_mask_that_is_nearly_white_says_what_it_leaves(level: int, words: str | None) -> None:
    soft = np.where(BOX, level, 0).astype(np.uint8)
    soft[8, 12:14] = [level // 2 + 1, level - 1]  # no labels
    notes = open_mask(soft if level > 31 else layer(WHITE, level, 0), SIZE).notes
    assert [words in note for note in notes if words] == [True] * len(notes)


@pytest.mark.parametrize("colour", [WHITE, RED])
@pytest.mark.parametrize("quality", [20, 50, 75])
def test_small_parts_of_a_jpeg_are_read_to_their_edges(colour: tuple[int, int, int], quality: int) -> None:
    marked = np.zeros((90, 120), dtype=bool)
    marked[30:40, 30:42] = True
    image = Image.fromarray(np.where(marked[..., None], np.uint8(colour), np.uint8(0)))
    read = levels(open_mask(stored(image, "JPEG", quality=quality, subsampling=2), image.size))
    assert ((read > 127) != marked).mean() < 0.003 and (read[~marked] > 0).mean() < 0.002


def test_noise_of_compression_marks_nothing_outside() -> None:
    image = Image.fromarray(BOX).convert("L").resize((160, 120), Image.Resampling.NEAREST)
    marked = np.asarray(image) > 0
    for quality in (30, 75, 95):
        data = stored(image, "JPEG", quality=quality)
        for source in (data, Image.open(io.BytesIO(data)).copy(), stored(Image.open(io.BytesIO(data)).copy())):
            noisy = levels(open_mask(source, image.size))
            assert (noisy[~marked] > 0).mean() < 0.002 and (noisy[marked] < 255).mean() < 0.06


def test_explicit_readings_are_taken_literally() -> None:
    red = layer(RED, 200, 0)
    assert np.array_equal(levels(open_mask(red, SIZE, mask_from="alpha")), 200 * BOX)
    assert np.array_equal(levels(open_mask(red, SIZE, mask_from="inverse-alpha")), np.where(BOX, 55, 255))
    assert np.array_equal(levels(open_mask(red, SIZE, mask_from="luma")), np.where(BOX, 60, 0))
    assert levels(open_mask(BOX.astype(np.uint8), SIZE, mask_from="luma")).max() == 0
    with pytest.raises(InvalidParameter, match=r"mask_from=alpha needs a mask with transparency"):
        open_mask(BOX, SIZE, mask_from="alpha")


@pytest.mark.parametrize("source", [BOX, layer(BLACK, 255, 0), BOX.astype(np.uint8)])
def test_inverting_a_mask_exchanges_marked_and_kept(source: Any) -> None:
    plain, inverted = open_mask(source, SIZE), open_mask(source, SIZE, invert=True)
    assert np.array_equal(levels(inverted), 255 - levels(plain))


def test_empty_and_full_masks_are_named() -> None:
    empty, full = np.zeros_like(BOX), np.ones_like(BOX)
    for source in (empty, np.full(BOX.shape, 3, np.uint8), layer(RED, 0, 0), stored(Image.fromarray(empty), "JPEG")):
        assert [note for note in open_mask(source, SIZE).notes if "marks nothing" in note]
    for source in (full, full.astype(np.uint8), np.full(BOX.shape, 254, np.uint8)):
        assert [note for note in open_mask(source, SIZE).notes if "marks the whole image" in note]
    (note,) = open_mask(np.where(BOX, 40, 0).astype(np.uint8), SIZE).notes
    assert "allows 16% of the change" in note


def turned(image: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return stored(image, "PNG", exif=exif.tobytes())


@pytest.mark.parametrize(("orientation", "side", "notes"), [(1, 30, 0), (3, 30, 1), (6, 30, 0), (6, 40, 1)])
def test_a_mask_on_a_turned_image_says_how_it_lies(orientation: int, side: int, notes: int) -> None:
    image = open_image(turned(Image.new("RGB", (40, side), "red"), orientation))
    drawn = Image.new("L", image.size)
    drawn.paste(255, (6, 3, 11, 7))
    params = EditParams(mask=drawn)
    assert sum("EXIF orientation" in note for note in open_image_params(params, image).notes) == notes
    along = Image.new("L", (40, side))
    along.paste(255, (6, 3, 11, 7))
    for mask in (turned(along, orientation), "strokes:4@8,8"):
        assert open_image_params(EditParams(mask=mask), image).notes == ()


def test_orientation_applies_to_masks_and_a_profile_does_not() -> None:
    image, exif = Image.fromarray(BOX.T).convert("L"), Image.Exif()
    exif[0x0112] = 5  # transposed
    data = stored(image, "PNG", exif=exif)
    assert np.array_equal(levels(open_mask(data, SIZE)), 255 * BOX)


def test_lines_of_one_pixel_survive() -> None:
    line = np.zeros_like(BOX)
    line[15] = True
    for source in (line, line.astype(np.uint8), Image.fromarray(line)):
        assert np.array_equal(levels(open_mask(source, SIZE)), 255 * line)


@pytest.mark.parametrize(
    "source",
    [
        BOX * -1,
        BOX * 70000,
        BOX * 300.0,
        BOX * -0.5,
        BOX * np.nan,
        BOX.astype(complex),
        np.zeros((30, 40, 2), np.uint8),
    ],
)
def test_numbers_without_a_meaning_are_refused(source: NDArray[Any]) -> None:
    with pytest.raises(BadImage, match=r"^mask \(array of shape"):
        open_mask(source, SIZE)


def test_plugins_read_a_mask_as_operations_do() -> None:
    for source in (layer(BLACK, 255, 0), BOX, BOX.astype(np.uint8)):
        mask, (values, notes) = open_mask(source, SIZE), read_mask(source, SIZE)
        assert np.array_equal(np.rint(values * 255), levels(mask)) and notes == mask.notes


def test_plugins_read_a_mask_beside_its_image_as_operations_do() -> None:
    stored_turned = Image.fromarray(PHOTO)
    exif = Image.Exif()
    exif[274] = 3
    image = open_image(stored(stored_turned, exif=exif))
    copy = np.where(BOX[..., None], np.uint8(RED), np.asarray(image))
    values, notes = read_mask(copy, image=image)
    assert np.array_equal(values == 1, BOX) and "a copy of the image" in notes[0] and "stores it turned" in notes[1]
    assert read_mask(np.eye(9, dtype=bool), image=image)[1] == (), "an image of another size is not the mask's"


def test_mask_of_another_size_is_refused() -> None:
    with pytest.raises(InvalidParameter, match=r"^mask .*is 4 x 3 pixels but must be 3 x 4"):
        open_mask(np.zeros((3, 4), np.uint8), (3, 4))


def test_a_feather_wider_than_a_part_of_the_mask_is_named() -> None:
    marks = np.where(BOX, 255, 0).astype(np.uint8)
    assert feather_note(marks, 0) is None and feather_note(marks, 4) is None
    assert feather_note(marks, 100) == (
        "feather=100 is wider than the mask: at most 6% of the change is left there; use a smaller one"
    )
    marks[25] = 255
    assert "wider than 1 of the 2 parts of the mask" in str(feather_note(marks, 4))
    assert np.array_equal(fade_edges(marks, 2)[marks == 0], np.zeros((marks == 0).sum()))


def scenery() -> dict[str, Image.Image]:
    """Images of 120 x 90 on which strokes of every brush differ from what is below."""
    down, across = np.mgrid[:90, :120]
    sky = np.dstack([90 + down, 140 + across // 2, 230 + 0 * down]).astype(np.uint8)
    sky[30:50, 40:70] = (90, 60, 50)
    grey = np.dstack([60 + down + across // 2] * 3).astype(np.uint8)
    clear = np.dstack([sky, np.where(np.hypot(down - 45, across - 60) < 40, 255, 0).astype(np.uint8)])
    return {"sky": Image.fromarray(sky), "grey": Image.fromarray(grey), "clear": Image.fromarray(clear)}


PAINTED = np.zeros((90, 120), dtype=bool)
PAINTED[28:52, 38:72] = True


@pytest.mark.parametrize("brush", [RED, BLACK, WHITE, (128, 128, 128)])
@pytest.mark.parametrize("name", ["sky", "grey", "clear"])
def test_the_part_painted_over_on_a_copy_is_marked_in_any_colour(name: str, brush: tuple[int, int, int]) -> None:
    original = scenery()[name]
    view = open_image(original)
    copy = original.copy()
    copy.paste(brush, mask=Image.fromarray(PAINTED))
    files = [stored(copy)] if name == "clear" else [stored(copy), stored(copy, "BMP")]
    for data in files:
        mask = open_mask(data, view.size, image=view)
        marked = levels(mask) > 0
        # A pixel that had the brush's colour is not known to be painted.
        assert (marked == PAINTED).mean() > 0.97 and not marked[~PAINTED].any() and "a copy" in mask.notes[0]
    lossy = open_mask(stored(copy, "WEBP", quality=85), view.size, image=view)
    assert (name == "grey" and brush == (128,) * 3) or ((levels(lossy) > 0) != PAINTED).mean() < 0.03


def test_a_painted_copy_in_the_profile_of_its_image_is_found() -> None:
    original = np.asarray(scenery()["sky"]).copy()
    original[..., 1] //= 4
    painted = np.where(PAINTED[..., None], np.uint8(BLACK), original)
    view = open_image(stored(Image.fromarray(original), icc_profile=WIDE))
    for copy in (stored(Image.fromarray(painted), icc_profile=WIDE), np.where(PAINTED[..., None], 0, view)):
        mask = open_mask(np.asarray(copy, np.uint8) if isinstance(copy, np.ndarray) else copy, view.size, image=view)
        assert np.array_equal(levels(mask) > 0, PAINTED)


def test_an_image_of_colours_given_as_its_own_mask_marks_nothing() -> None:
    view = open_image(scenery()["sky"])
    mask = open_mask(stored(view), view.size, image=view)
    assert not levels(mask).any() and "a copy of the image" in mask.notes[0] and "marks nothing" in mask.notes[1]


def test_an_image_with_a_hole_is_its_own_mask() -> None:
    holed = open_image(layer(PHOTO // 8 * 8, 0, 255))
    for data in (stored(holed), stored(holed, "WEBP", quality=95)):
        mask = open_mask(data, SIZE, image=holed)
        assert np.array_equal(levels(mask), 255 * BOX) and "an opaque layer with holes" in mask.notes[0]


def test_masks_that_have_levels_of_their_own_are_no_copies() -> None:
    down, across = np.mgrid[:90, :120]
    ramp = Image.fromarray((across * 2).astype(np.uint8))
    soft = Image.fromarray((255 * np.exp(-((across - 60) ** 2 + (down - 45) ** 2) / 900)).astype(np.uint8))
    dots = Image.fromarray(PAINTED).convert("L").resize((240, 180), Image.Resampling.BICUBIC)
    part = np.where(np.mgrid[:180, :240][1] < 100, np.asarray(dots), 0).astype(np.uint8)
    for image, mask in [(one, mask) for one in scenery().values() for mask in (ramp, soft)] + [(ramp, ramp)]:
        for data in (stored(mask), stored(mask, "JPEG")):
            assert not [note for note in open_mask(data, image.size, image=open_image(image)).notes if "copy" in note]
    assert open_mask(part, dots.size, image=open_image(dots)).notes == ()


@pytest.mark.parametrize("quality", [30, 50, 75])
def test_noise_beside_thin_strokes_is_not_marked(quality: int) -> None:
    drawn = Image.new("L", (800, 600))
    ImageDraw.Draw(drawn).line((32, 32, 400, 450, 600, 150), fill=255, width=24, joint="curve")
    drawn = drawn.resize((200, 150), Image.Resampling.BOX)
    near = np.asarray(drawn.filter(ImageFilter.MaxFilter(5))) > 0
    read = levels(open_mask(stored(drawn, "JPEG", quality=quality), drawn.size))
    assert (read[~near] > 0).sum() <= 30 and (read[np.asarray(drawn) == 255] > 200).mean() > 0.99


def test_faint_strokes_of_their_own_are_kept_in_files_without_losses() -> None:
    faint = np.where(BOX, 255, 0).astype(np.uint8)
    faint[2:4, 2:4] = 40
    assert levels(open_mask(faint, SIZE))[2, 2] == 40
