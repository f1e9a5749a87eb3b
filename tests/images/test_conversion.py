"""Transparent pixels are composited on white, in images of any mode."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from editkit import BadImage, on_white
from editkit.images.conversion import pixels


def test_every_level_and_transparency_is_laid_on_white() -> None:
    level, alpha = np.meshgrid(np.arange(256), np.arange(256))
    image = Image.fromarray(np.stack([level, 255 - level, level // 2, alpha], axis=-1).astype(np.uint8))
    assert on_white(image).mode == "RGB"
    assert np.array_equal(np.asarray(on_white(image)), np.rint(pixels(image) * 255))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK"])
def test_an_opaque_image_keeps_its_colours(mode: str) -> None:
    image = Image.new(mode, (3, 2), 1)
    assert on_white(image) == image.convert("RGB")


def test_transparency_of_every_kind_is_white() -> None:
    marked = Image.new("L", (3, 2), 9)
    marked.info["transparency"] = 9
    for image in (Image.new("RGBA", (3, 2)), Image.new("LA", (3, 2)), Image.new("PA", (3, 2)), marked):
        assert on_white(image) == Image.new("RGB", (3, 2), "white")


def test_levels_beyond_8_bits_are_scaled_and_not_clipped() -> None:
    levels = np.arange(256, dtype=np.uint16)[None].repeat(2, 0)
    for deep in (levels * 257, (levels / 255).astype(np.float32)):
        assert np.array_equal(np.asarray(on_white(Image.fromarray(deep)))[..., 0], levels)
    with pytest.raises(BadImage, match="white is unknown"):
        on_white(Image.fromarray(levels.astype(np.int32)))
