"""Place of the subject in the frames of an animation: the same region of the subject, wherever it moves."""

from __future__ import annotations

from torch import Tensor

from .ground import ground_colour
from .registration import Placement, place_region

FOLLOWED = 0.3
"""Cost of a placement below which a frame is taken to show the subject of the first frame."""


class FollowedSubject:
    """Placement of the first frame of an animation, which is moved with its subject for the others.

    A placement found for each frame anew has the accuracy of a pixel of the model, so that edits would tremble.
    """

    def __init__(self) -> None:
        self.first: Placement | None = None
        self.pixels: Tensor | None = None
        """(3, H, W): difference of the first frame to its ground."""

    def place(self, pixels: Tensor, found: Placement | None, *, plain: bool) -> Placement | None:
        """Return the placement for a frame (1, 3, H, W); ``found`` is its own, which the first frame keeps.

        So does a frame without a plain ground, or one that does not show the subject of the first frame.
        """
        image = pixels[0] - ground_colour(pixels[0])
        if self.pixels is None:
            self.first, self.pixels = found, image
            return found
        if self.first is None or not plain:
            return found if self.first else None
        moved = place_region(image, self.pixels, self.first)
        return moved if moved.cost < FOLLOWED else found
