"""Conformance suite of annotators, on a coloured disc on white."""

from __future__ import annotations

from typing import ClassVar
from unittest import SkipTest

import numpy as np
from PIL import Image

from ..errors import InvalidParameter
from ..images.condition_maps import Annotator, Map
from ..registry.registry import installed
from .suite import Suite, sample_image

SIZES = ((1, 1), (7, 5), (37, 61))
"""Sizes of images (width, height), from the smallest possible one."""


class AnnotatorTests(Suite):
    """Checks of every annotator."""

    kind = "annotator"
    options: ClassVar[str] = ""
    """Options as after the colon of a call: ``low=50,high=150``."""

    def annotator(self) -> Annotator:
        """Return the annotator with ``options``; without required options the checks are skipped."""
        try:
            return installed().build("annotators", f"{self.name}:{self.options}")  # type: ignore[no-any-return]
        except InvalidParameter as error:
            if self.options:
                raise
            raise SkipTest(str(error)) from None

    def map_of(self, image: Image.Image) -> Map:
        return self.annotator()(image)

    def test_gives_a_map_of_the_image_size_in_range(self) -> None:
        for size in SIZES:
            for mode in ("RGB", "RGBA"):
                levels, label = self.map_of(disc(size, mode)), f"of {mode} {size[0]} x {size[1]}"
                assert isinstance(levels, np.ndarray), f"the map {label} is {type(levels).__name__}, not an array"
                assert levels.dtype == np.float32, f"the map {label} is {levels.dtype}, not float32"
                assert levels.shape == (size[1], size[0]), f"the map {label} has the shape {levels.shape}"
                assert np.isfinite(levels).all(), f"the map {label} is not finite"
                assert levels.min() >= 0, f"the map {label} goes down to {levels.min()}"
                assert levels.max() <= 1, f"the map {label} goes up to {levels.max()}"

    def test_finds_a_disc(self) -> None:
        levels = self.map_of(disc((48, 40)))
        assert levels.min() < levels.max(), f"a disc on white gives a map that is {levels.min()} everywhere"

    def test_gives_the_same_map_twice(self) -> None:
        image = disc((48, 40))
        annotate = self.annotator()
        first = annotate(image).copy()
        annotate(disc((20, 30)))
        assert np.array_equal(annotate(image), first), "the second map of an image differs from its first"
        assert np.array_equal(self.map_of(image), first), "a second annotator gives another map of an image"

    def test_leaves_the_image_unchanged(self) -> None:
        for mode in ("RGB", "RGBA"):
            image = disc((48, 40), mode)
            before = image.copy()
            self.map_of(image)
            assert image == before, f"an image of mode {mode} was changed in place"

    def test_full_alpha_changes_nothing(self) -> None:
        plain = disc((48, 40))
        opaque = plain.copy()
        opaque.putalpha(255)
        assert np.array_equal(self.map_of(opaque), self.map_of(plain)), "an opaque alpha channel changes the map"


def disc(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """Return a coloured disc of two thirds of the shorter side on white; transparent outside for a mode with alpha."""
    across, down = (np.arange(side) + 0.5 - side / 2 for side in size)
    inside = Image.fromarray(np.hypot(across, down[:, None]) < min(size) / 3)
    image = Image.composite(sample_image(size), Image.new("RGB", size, "white"), inside)
    if mode == "RGBA":
        image.putalpha(inside.convert("L"))
    return image
