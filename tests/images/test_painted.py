"""Masks of strokes: text and back, and one drawing at every place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

import editkit
from editkit import InvalidParameter, PaintedMask, Stroke
from editkit.testing import ToyBackend

TEXT = "strokes:24@10,20.5+30,40;-12/0.5@25.25,-30;3@-5,0+400,0"


def test_a_text_is_read_as_the_strokes_that_it_was_written_from() -> None:
    mask = PaintedMask.parse(TEXT)
    assert mask is not None and str(mask) == TEXT and PaintedMask.parse(mask) is mask
    assert mask.strokes[1] == Stroke([(25.25, -30)], 12, 0.5, True)  # type: ignore[arg-type]
    assert PaintedMask.parse("mask.png") is None and PaintedMask.parse("points:1,2") is None


@pytest.mark.parametrize(
    "text",
    ["", "24", "24@", "0@1,1", "5000@1,1", "9/2@1,1", "9@1,1;", "9@1,1+2", "9@nan,1", "9@1,1 2,2", "9@1" + "0" * 9],
)
def test_a_text_that_is_no_stroke_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        PaintedMask.parse(f"strokes:{text}")
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 300


@pytest.mark.parametrize("points", ["20,20", "20,20+20,20"])
def test_a_stroke_of_one_point_is_a_disc(points: str) -> None:
    mask = PaintedMask.parse(f"strokes:25@{points}")
    assert mask is not None
    rows, columns = np.mgrid[:48, :64]
    assert np.array_equal(mask.levels((64, 48)) == 255, np.hypot(rows - 20, columns - 20) <= 12)


def test_the_part_of_a_mask_does_not_depend_on_the_image_around_it() -> None:
    strokes = [
        (((10, 10), (40, 35), (60, 30)), 44, 0.7, False),
        (((30, 30),), 30, 0.5, True),
        (((5, 55),), 9, 0, False),
    ]
    moved: list[Any] = [(tuple((x + 60, y + 50) for x, y in points), *brush) for points, *brush in strokes]
    whole = PaintedMask(tuple(Stroke(*one) for one in moved)).levels((200, 180))
    part = PaintedMask(tuple(Stroke(*one) for one in strokes)).levels((70, 60))
    assert np.array_equal(whole[50:110, 60:130], part) and len(np.unique(part)) > 20


def test_an_edit_under_strokes_equals_that_under_their_image_and_replays_without_it() -> None:
    model, values = ToyBackend(), {"strength": 0.8, "steps": 4, "seed": 3, "invert_mask": True}
    source = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))
    mask = PaintedMask((Stroke(((20, 20), (70, 40)), 30, 0.5),))
    result = editkit.apply("img2img", source, model=model, mask=str(mask), **values)
    image = Image.fromarray(mask.levels(source.size))
    assert np.array_equal(result.levels, editkit.apply("img2img", source, model=model, mask=image, **values).levels)
    assert result.recipe.steps[0].specifications == {"mask": str(mask)}
    again = editkit.replay(result.encoded(".png"), source=source, model=model)
    assert np.array_equal(again.levels, result.levels) and again.report.untouched_max_diff == 0


def test_strokes_that_would_take_minutes_are_refused() -> None:
    text = f"strokes:{';'.join(['4096@2000,2000+-2000,-2000'] * 2000)}"
    mask = PaintedMask.parse(text)
    assert mask is not None and not mask.is_small((16, 16))
    with pytest.raises(InvalidParameter, match="pass it as an image"):
        editkit.apply("img2img", Image.new("RGB", (16, 16)), model=ToyBackend(), mask=text)
    with pytest.raises(InvalidParameter, match="at most"):
        PaintedMask.parse(text + ";" + text[8:] * 2)
