"""Place the subject of an image without a prompt: by what stands on a smooth ground, and the usual size of subjects."""

from __future__ import annotations

import math

from torch import Tensor

from ...images.canvas import Box
from .ground import Standing
from .placing import Place, standing_parts
from .registration import Placement, square_around

RESIZED = 1.25
"""Factor up to which a subject is larger or smaller than the model's subjects, which differ in size too."""
CENTRED = 0.05
"""Distance of a subject's centre from that of the frame, as a share of its side, up to which it stands in the frame."""
SPECK = 0.001
"""Size of a part, relative to the largest, below which it does not count."""
SEVERAL = 0.4
"""Size of the second largest part, relative to the largest, from which an image shows several subjects."""


def place_by_extent(standing: Standing | None, mask: Tensor | None, extent: float, *, keep_whole: bool) -> Place:
    """Return the place of all that stands on the smooth ground of an image, or of its parts in a mask (1, 1, H, W).

    Its longest side becomes ``extent`` of the frame's side, unless it has about that size. An image in the frame of the
    model has no placement, unless ``keep_whole``. Without a smooth ground there is no subject.
    """
    boxes = [] if standing is None else _subject_boxes(standing.subject, mask)
    if standing is None or not boxes:
        return Place(None, explained=False)
    several = len(boxes) > 1 and boxes[1].area >= SEVERAL * boxes[0].area
    height, width = standing.pixels.shape[-2:]
    frame = square_around(standing.pixels)
    placement = _place_box(Box.around(boxes), extent, frame, (width, height))
    if placement == frame and not keep_whole and standing.on_model_ground:
        return Place(None, several=several)
    return Place(placement, standing, several=several)


def _subject_boxes(subject: Tensor, mask: Tensor | None) -> list[Box]:
    """Return the boxes of the parts of a subject, shares (1, 1, H, W), that a mask marks some of, the largest first."""
    boxes = standing_parts(subject)
    if mask is not None:
        marked = (subject[0, 0] > 0.5) & (mask[0, 0] > 0)
        boxes = [box for box in boxes if bool(marked[box.top : box.bottom, box.left : box.right].any())]
    return [box for box in boxes if box.area >= SPECK * boxes[0].area]


def _place_box(box: Box, extent: float, frame: Placement, size: tuple[int, int]) -> Placement:
    """Return the placement of a box in an image of ``size``, or that of the whole image if it is about the same."""
    side = box.side / extent
    resized = not 1 / RESIZED < side / frame.side < RESIZED
    side = max(1, round(side)) if resized else frame.side
    left = math.floor(_centre(box.left, box.right, size[0], extent * side) - side / 2)
    top = math.floor(_centre(box.top, box.bottom, size[1], extent * side) - side / 2)
    moved = max(abs(left - frame.left), abs(top - frame.top)) > CENTRED * frame.side
    return frame._replace(left=left, top=top, side=side) if resized or moved else frame


def _centre(start: int, end: int, length: int, usual: float) -> float:
    """Return the centre of a subject between two edges of an image; it may continue beyond one that it touches.

    What is hidden is then half of what a subject of the usual length would hide.
    """
    hidden = max(0.0, usual - (end - start)) / 2
    if (start == 0) == (end == length):
        return (start + end) / 2
    return (start + end + (hidden if end == length else -hidden)) / 2
