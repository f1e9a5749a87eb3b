"""Laws of contact sheets: every image is shown whole, once, in order, with a readable label."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFont

from editkit.errors import BadImage, InvalidParameter
from editkit.images import contact_sheet
from editkit.images.contact_sheet import draw_sheet

RED, BLUE = (255, 0, 0), (0, 0, 255)


def box(sheet: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the pixels of one colour."""
    y, x = np.nonzero((np.asarray(sheet) == colour).all(axis=2))
    return int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1


def test_images_stand_in_order_with_white_margins() -> None:
    sheet = draw_sheet([("before", Image.new("RGB", (64, 64), RED)), ("after", Image.new("RGB", (64, 64), BLUE))])
    assert sheet.mode == "RGB"
    left, right = box(sheet, RED), box(sheet, BLUE)
    assert (left[2] - left[0], left[3] - left[1]) == (256, 256) == (right[2] - right[0], right[3] - right[1])
    assert left[2] < right[0]
    assert left[1] == right[1]
    edges = np.asarray(sheet)
    assert (edges[[0, -1]] == 255).all()
    assert (edges[:, [0, -1]] == 255).all()


def test_the_label_is_below_its_image() -> None:
    blank, labelled = (draw_sheet([(label, Image.new("RGB", (64, 64), RED))]) for label in ("", "after"))
    assert blank.size == labelled.size
    changed = (np.asarray(blank) != np.asarray(labelled)).any(axis=2).nonzero()[0]
    assert changed.size > 20
    assert changed.min() >= box(labelled, RED)[3]


@pytest.mark.parametrize(
    ("count", "columns", "across", "rows"), [(1, None, 1, 1), (4, None, 4, 1), (6, None, 3, 2), (6, 2, 2, 3)]
)
def test_rows_and_columns(count: int, columns: int | None, across: int, rows: int) -> None:
    images = [("x", Image.new("RGB", (32, 32), RED))] * count
    sheet = draw_sheet(images, columns=columns, tile=64)
    red = (np.asarray(sheet) == RED).all(axis=2)
    assert red.sum() == count * 64 * 64
    assert (red.any(axis=0).sum(), red.any(axis=1).sum()) == (across * 64, rows * 64)


def test_small_images_keep_their_pixels() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    sheet = np.asarray(draw_sheet([("", Image.fromarray(levels))], tile=64))
    left, top = (64 - 63) // 2 + 12, 12
    assert np.array_equal(sheet[top : top + 45, left : left + 63], levels.repeat(9, axis=0).repeat(9, axis=1))


@pytest.mark.parametrize("size", [(1, 1), (1000, 10), (10, 1000), (1, 3000), (300, 200), (200, 130)])
def test_any_shape_fits_its_tile(size: tuple[int, int]) -> None:
    left, top, right, bottom = box(draw_sheet([("", Image.new("RGB", size, RED))], tile=256), RED)
    assert max(right - left, bottom - top) == 256
    assert abs((right - left) * size[1] - (bottom - top) * size[0]) <= max(size)


def test_transparency_shows_a_light_checkerboard() -> None:
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste(RED, (0, 0, 64, 32))
    sheet = draw_sheet([("", image)], tile=64)
    left, top, right, bottom = box(sheet, RED)
    below = np.asarray(sheet)[bottom : bottom + 32, left:right]
    assert set(np.unique(below)) == set(contact_sheet._SQUARE_LEVELS)
    assert (right - left, bottom - top) == (64, 32)


def test_other_modes_are_shown() -> None:
    for image in (Image.new("L", (8, 8), 90), Image.new("CMYK", (8, 8)), Image.new("1", (8, 8))):
        assert draw_sheet([("mask", image)], tile=64).width > 64


@pytest.mark.parametrize(
    "label", ["a " * 200, "x" * 500, "one\ntwo\tthree", "W" * 30 + " end", "", "a bird on a branch"]
)
@pytest.mark.parametrize("tile", [32, 256])
@pytest.mark.parametrize("most", [1, 2, 3])
def test_labels_fit_their_lines(label: str, tile: int, most: int) -> None:
    font = ImageFont.load_default(16)
    lines = contact_sheet._wrap(label, font, tile, most)
    assert 1 <= len(lines) <= most
    assert all(font.getlength(line) <= tile for line in lines)
    text = " ".join(lines)
    assert text == " ".join(label.split()) or "..." in text


def test_bad_sheets_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.new("RGB", (8, 8))
    with pytest.raises(InvalidParameter, match="at least one"):
        draw_sheet([])
    with pytest.raises(InvalidParameter, match="columns is 0"):
        draw_sheet([("", image)], columns=0)
    for tile in (31, 2049, -1):
        with pytest.raises(InvalidParameter, match=rf"tile is {tile}"):
            draw_sheet([("", image)], tile=tile)
    with pytest.raises(BadImage):
        draw_sheet([("", Image.new("RGB", (0, 8)))])
    monkeypatch.setattr(contact_sheet, "MAX_PIXELS", 10_000)
    with pytest.raises(InvalidParameter, match="smaller tile"):
        draw_sheet([("", image)] * 4)
