"""The suite of annotators, on a coloured disc that lies on white."""

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
"""Pictures (width, height), from the smallest one can have."""


class AnnotatorTests(Suite):
    """What every annotator must do."""

    kind = "annotator"
    options: ClassVar[str] = ""
    """What to tell it, as after the colon of a call: ``low=50,high=150``."""

    def annotator(self) -> Annotator:
        """The annotator as called with ``options``; one that does nothing without them is not checked without."""
        try:
            return installed().build("annotators", f"{self.name}:{self.options}")  # type: ignore[no-any-return]
        except InvalidParameter as error:
            if self.options:
                raise
            raise SkipTest(str(error)) from None

    def map_of(self, picture: Image.Image) -> Map:
        return self.annotator()(picture)

    def test_gives_a_map_of_the_picture_s_size_in_range(self) -> None:
        for size in SIZES:
            for mode in ("RGB", "RGBA"):
                drawn, called = self.map_of(disc(size, mode)), f"of {mode} {size[0]} x {size[1]}"
                assert isinstance(drawn, np.ndarray), f"the map {called} is {type(drawn).__name__}, not an array"
                assert drawn.dtype == np.float32, f"the map {called} is {drawn.dtype}, not float32"
                assert drawn.shape == (size[1], size[0]), f"the map {called} has the shape {drawn.shape}"
                assert np.isfinite(drawn).all(), f"the map {called} is not finite"
                assert drawn.min() >= 0, f"the map {called} goes down to {drawn.min()}"
                assert drawn.max() <= 1, f"the map {called} goes up to {drawn.max()}"

    def test_sees_what_is_there(self) -> None:
        drawn = self.map_of(disc((48, 40)))
        assert drawn.min() < drawn.max(), f"a disc on white gives a map that is {drawn.min()} everywhere"

    def test_gives_the_same_map_twice(self) -> None:
        picture = disc((48, 40))
        annotate = self.annotator()
        first = annotate(picture).copy()
        annotate(disc((20, 30)))
        assert np.array_equal(annotate(picture), first), "the second map of a picture differs from its first"
        assert np.array_equal(self.map_of(picture), first), "a second annotator gives another map of a picture"

    def test_leaves_the_picture_alone(self) -> None:
        for mode in ("RGB", "RGBA"):
            picture = disc((48, 40), mode)
            before = picture.copy()
            self.map_of(picture)
            assert picture == before, f"a picture of mode {mode} was changed in place"

    def test_full_alpha_changes_nothing(self) -> None:
        plain = disc((48, 40))
        opaque = plain.copy()
        opaque.putalpha(255)
        assert np.array_equal(self.map_of(opaque), self.map_of(plain)), "an opaque alpha channel changes the map"


def disc(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """A coloured disc of two thirds of the shorter side on white, or on nothing where the mode has alpha."""
    across, down = (np.arange(side) + 0.5 - side / 2 for side in size)
    inside = Image.fromarray(np.hypot(across, down[:, None]) < min(size) / 3)
    picture = Image.composite(sample_image(size), Image.new("RGB", size, "white"), inside)
    if mode == "RGBA":
        picture.putalpha(inside.convert("L"))
    return picture
