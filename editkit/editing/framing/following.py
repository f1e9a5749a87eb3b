"""Place of the subject in the frames of an animation: the same region of the subject, wherever it moves."""

from __future__ import annotations

from torch import Tensor

from .registration import Placement, place_region

FOLLOWED = 0.3
"""Cost of a placement below which a frame is taken to show the subject of the first frame."""


class FollowedSubject:
    """Placement of the first frame of an animation, which is moved with its subject for the others.

    A placement found for each frame anew has the accuracy of a pixel of the model, so that edits would tremble.
    """

    def __init__(self) -> None:
        self.begun = False
        self.first: Placement | None = None
        self.pixels: Tensor | None = None
        """(3, H, W): difference of the first frame to its ground."""

    def place(self, image: Tensor | None, found: Placement | None) -> Placement | None:
        """Return the placement for a frame; ``found`` is its own, which the first frame keeps.

        ``image`` (3, H, W) is its difference to its ground, None if that is not smooth. Such a frame, and one that does
        not show the subject of the first frame, keep theirs too.
        """
        if not self.begun:
            self.begun, self.first, self.pixels = True, found, image
            return found
        if self.first is None or self.pixels is None or image is None:
            return found if self.first else None
        moved = place_region(image, self.pixels, self.first)
        return moved if moved.cost < FOLLOWED else found
