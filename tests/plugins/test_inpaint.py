"""Laws of inpaint: how much of an image the model works on for a mask."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image

import editkit
from editkit.testing import ToyBackend
from editkit.testing.suite import sample_image

SIDE = 200
MODEL = ToyBackend(native_size=16)


def box(left: int, top: int, side: int) -> Image.Image:
    mask = Image.new("L", (SIDE, SIDE))
    mask.paste(255, (left, top, left + side, top + side))
    return mask


def inpainted(mask: Image.Image, image: Image.Image | None = None, **params: Any) -> editkit.Result:
    image = image or sample_image((SIDE, SIDE))
    return editkit.apply("inpaint", image, model=MODEL, mask=mask, prompt="red", steps=3, seed=0, **params)


@pytest.mark.parametrize(
    ("side", "context"), [(48, 0.5), (30, 0.5), (10, 0.5), (4, 1.5), (1, 7.5), (50, 0.0), (120, 0.0)]
)
def test_a_small_mask_on_a_large_image_is_filled_within_its_surroundings(side: int, context: float) -> None:
    """Small is below a quarter of the native size at the model's scale; the surroundings have at least that size."""
    result = inpainted(box(0, 0, side))
    assert result.report.params["context"] == context
    assert result.report.working_size == (16, 16)
    assert result.report.warnings == ()
    assert result.report.untouched_max_diff == 0
    assert result.image.tobytes() == inpainted(box(0, 0, side), context=context).image.tobytes()


def test_an_image_of_the_native_size_is_filled_as_a_whole() -> None:
    mask = Image.new("L", (16, 16))
    mask.putpixel((3, 4), 255)
    assert inpainted(mask, sample_image((16, 16))).report.params["context"] == 0


def test_a_chosen_resolution_decides_over_what_is_small() -> None:
    assert inpainted(box(60, 60, 20), resolution=50).report.params["context"] == 0
    assert inpainted(box(60, 60, 20)).report.params["context"] == 0.5


def test_a_context_of_zero_fills_within_the_whole_image_and_warns_of_a_mask_without_pixels() -> None:
    assert inpainted(box(60, 60, 20), context=0.0).report.warnings == ()
    (warning,) = inpainted(box(60, 60, 9), context=0.0).report.warnings
    assert "the mask marks 9 x 9 pixels, which are 1 x 1 at the scale" in warning


def test_another_operation_warns_of_a_mask_without_pixels() -> None:
    arguments = {"model": MODEL, "prompt": "red", "steps": 3, "seed": 0}
    image = sample_image((SIDE, SIDE))
    assert editkit.apply("img2img", image, mask=box(0, 0, 9), **arguments).report.warnings
    assert not editkit.apply("img2img", image, mask=box(0, 0, 60), **arguments).report.warnings
