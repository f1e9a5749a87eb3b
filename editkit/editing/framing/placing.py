"""Place the subject of an image: registered to the whole image, or to a part of it that stands on a plain ground."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ...images.canvas import Box, Canvas, part_boxes, resize
from .ground import ground_colour, is_model_ground, is_plain, matte, on_model_ground, predicted_matte
from .registration import Placement, place_template, whole_image

EXPLAINED = 0.8
"""Cost of a placement below which the prediction is taken to show the subject of the image."""
BETTER = 0.9
"""Cost relative to that of the whole image below which another placement is preferred."""
CUT = 0.1
"""Share of a placement's side from which the subject may not continue beyond its border."""
SLACK = 0.12
"""Share of a placement's side by which it may be moved or enlarged to hold a subject that it cuts."""
AROUND = 1.75
"""Side of a part that is registered by itself, relative to the longest side of what stands in it: of 1.25 and 1.75, the
one with fewer side effects of edits."""
PARTS = 8
"""Most parts of an image that are tried, the largest first."""
NEAR = 0.02
"""Distance of two parts, as a share of the image's longest side, up to which they are one."""


class Place(NamedTuple):
    """Place of the subject of an image."""

    placement: Placement | None
    """None if the image is to be edited as it stands."""
    outline: Tensor | None = None
    """(1, n, n), share of the subject in each pixel of the placement, as the model predicts it; None on a plain ground,
    which shows it."""
    explained: bool = True
    """Whether the subject was found."""
    several: bool = False
    """Whether there are several subjects, where only one is expected."""


class View(NamedTuple):
    """A square of an image, or the whole image, at the model's scale."""

    pixels: Tensor
    """(3, h, w)."""
    mask: Tensor | None
    """(1, h, w), share of the edit in each pixel."""
    left: int
    top: int
    factor: float
    """Pixels of the image in a pixel of the view."""

    @classmethod
    def of(cls, pixels: Tensor, mask: Tensor | None, native: int, box: Box | None = None) -> View:
        """Return the view of a box of an image (1, 3, H, W) and its mask (1, 1, H, W), by default of all."""
        if box is not None:
            pixels = pixels[..., box.top : box.bottom, box.left : box.right]
            mask = None if mask is None else mask[..., box.top : box.bottom, box.left : box.right]
        size = pixels.shape[-1], pixels.shape[-2]
        scaled = resize(pixels, Canvas.plan(size, native, 1).work)[0]
        shape = scaled.shape[-1], scaled.shape[-2]
        marked = None if mask is None else resize(mask, shape)[0].clamp(0, 1)
        left, top = (box.left, box.top) if box else (0, 0)
        return cls(scaled, marked, left, top, max(size) / max(shape))

    def in_image(self, placement: Placement) -> Placement:
        """Return a placement in the view as one in the image."""
        left, top, side = (round(self.factor * length) for length in (placement.left, placement.top, placement.side))
        return placement._replace(left=self.left + left, top=self.top + top, side=side)


def place_subject(
    pixels: Tensor, mask: Tensor | None, template: Tensor, model_ground: Tensor, *, keep_whole: bool
) -> Place:
    """Return the place of the subject of an image (1, 3, H, W), which a template (3, n, n) of the model's size shows.

    The template is a difference to ``model_ground`` (3, 1, 1). An image in the frame of the model has no placement,
    unless ``keep_whole``.
    """
    view, outline = View.of(pixels, mask, template.shape[-1]), None
    ground, plain = ground_colour(view.pixels), is_plain(view.pixels)
    subject = matte(view.pixels, ground) if plain else torch.zeros_like(view.pixels[:1])
    if plain:
        image = on_model_ground(view.pixels, subject, ground, model_ground) - model_ground
    else:  # the predicted subject hides the ground behind it
        image, outline = view.pixels - ground, predicted_matte(template)
        template = (template + model_ground - ground) * outline
    best, whole = place_template(image, template, view.mask), whole_image(image, template)
    best = hold(subject[0] > 0.5, best)
    in_frame = BETTER * whole.cost <= best.cost < EXPLAINED
    if not in_frame and (best.cost >= EXPLAINED or cuts(subject[0] > 0.5, best)):
        part = _place_part(pixels, mask, template, model_ground) if plain else None
        if part is not None and part.cost < BETTER * whole.cost:
            return Place(part)
        in_frame = best.cost < EXPLAINED
    if best.cost >= EXPLAINED:
        return Place(None, outline, explained=False)
    if in_frame:
        best = whole
        if plain and not keep_whole and is_model_ground(ground, model_ground):
            return Place(None)
    return Place(view.in_image(best), outline)


def _place_part(pixels: Tensor, mask: Tensor | None, template: Tensor, model_ground: Tensor) -> Placement | None:
    """Return the best placement in a part of an image with a plain ground; None if none shows the subject.

    In the whole image a small subject has too few pixels, and several ones hide each other's cost.
    """
    ground, found = ground_colour(pixels[0]), []
    for box in _boxes(matte(pixels, ground)):
        view = View.of(pixels, mask, template.shape[-1], box)
        if view.mask is not None and not view.mask.any():
            continue
        subject = matte(view.pixels, ground)
        image = on_model_ground(view.pixels, subject, ground, model_ground) - model_ground
        placement = hold(subject[0] > 0.5, place_template(image, template, view.mask))
        if placement.cost < EXPLAINED and not cuts(subject[0] > 0.5, placement):
            found.append(view.in_image(placement))
    return min(found, key=lambda one: one.cost, default=None)


def _boxes(subject: Tensor) -> Iterator[Box]:
    """Yield squares around all that stands on the ground, shares (1, 1, H, W), and around its largest parts."""
    height, width = subject.shape[-2:]
    parts = standing_parts(subject)
    if not parts:
        return
    for box in dict.fromkeys([Box.around(parts), *parts[:PARTS]]):
        half = math.ceil(AROUND * box.side / 2)
        x, y = (box.left + box.right) // 2, (box.top + box.bottom) // 2
        yield Box(max(0, x - half), max(0, y - half), min(width, x + half), min(height, y + half))


def standing_parts(subject: Tensor) -> list[Box]:
    """Return the boxes of the parts of a subject, shares (1, 1, H, W), the largest first."""
    parts = part_boxes((subject > 0.5).float(), max(1, round(NEAR * max(subject.shape[-2:]))))
    return sorted(parts, key=lambda box: box.area, reverse=True)


def hold(subject: Tensor, placement: Placement) -> Placement:
    """Move or enlarge a placement so that it holds the subject, a mask (H, W), that lies mostly in it.

    The registration is accurate to a pixel or two at the model's scale, which may cut off an edge. A placement that
    would have to change by more than :data:`SLACK` of its side stays as it is.
    """
    rows, columns = (found[0] for found in placement.overlaps(subject))
    boxes = [box for box in part_boxes(subject[None, None].float(), 1) if _is_mostly_in(box, rows, columns)]
    if not boxes:
        return placement
    held = Box.around(boxes)
    side = max(placement.side, held.side)
    moved = placement._replace(
        left=min(max(placement.left, held.right - side), held.left),
        top=min(max(placement.top, held.bottom - side), held.top),
        side=side,
    )
    changes = (moved.left - placement.left, moved.top - placement.top, moved.side - placement.side)
    return moved if max(map(abs, changes)) <= SLACK * placement.side else placement


def _is_mostly_in(box: Box, rows: slice, columns: slice) -> bool:
    width = min(box.right, columns.stop) - max(box.left, columns.start)
    height = min(box.bottom, rows.stop) - max(box.top, rows.start)
    return width > 0 and height > 0 and bool(2 * width * height > box.area)


def cuts(subject: Tensor, placement: Placement) -> bool:
    """Return whether the border of a placement runs through the subject, a mask (H, W): a part of it is no subject."""
    rows, columns = (slice(max(0, start), start + placement.side) for start in (placement.top, placement.left))
    borders = (
        (subject[:, columns], (placement.top, placement.top + placement.side)),
        (subject.T[:, rows], (placement.left, placement.left + placement.side)),
    )
    beside = [lines[edge - 1] & lines[edge] for lines, edges in borders for edge in edges if 0 < edge < len(lines)]
    return sum(int(both.sum()) for both in beside) > CUT * placement.side
