"""Place the subject of an image: registered to the whole image, or to a part of it that stands on a smooth ground."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ...images.canvas import Box, Canvas, part_boxes, resize
from .cutting import cut_out, predicted_outline
from .ground import Standing, border_colour
from .opaque import (
    CLEARER,
    FINER,
    HIDDEN,
    SMALL,
    centred_beside,
    centred_in,
    covering,
    small_places,
    unexplained_beside,
)
from .registration import STEP, Placement, place_template, refine, sides_around, unexplained, whole_image

EXPLAINED = 0.8
"""Cost of a placement below which the prediction is taken to show the subject of the image."""
UNEXPLAINED = 0.4
"""The same of an image whose ground is not smooth: share of the image under the predicted outline that is left. Of 106
images on photographs it is mostly below 0.3 where the place is right, and mostly above 0.4 under the predictions of
others."""
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
    standing: Standing | None = None
    """The image with its subject on the ground of the model; None without a placement."""
    cut: bool = False
    """Whether the subject was cut out of a ground that is not smooth."""
    explained: bool = True
    """Whether the subject was found."""
    several: bool = False
    """Whether there are several subjects, where only one is expected."""
    more: bool = False
    """Whether the image shows the subject again elsewhere, where one is edited."""


class View(NamedTuple):
    """A square of an image, or the whole image, at the model's scale."""

    pixels: Tensor
    """(3, h, w)."""
    subject: Tensor
    """(h, w) bool, whether a pixel shows something that stands on a smooth ground."""
    mask: Tensor | None
    """(1, h, w), share of the edit in each pixel."""
    left: int
    top: int
    factor: float
    """Pixels of the image in a pixel of the view."""

    @classmethod
    def of(
        cls, pixels: Tensor, subject: Tensor | None, mask: Tensor | None, native: int, box: Box | None = None
    ) -> View:
        """Return the view of a box of an image (1, 3, H, W), its subject and mask (1, 1, H, W), by default of all."""
        height, width = pixels.shape[-2:]
        box = box or Box(0, 0, width, height)
        work = Canvas.plan((box.width, box.height), native, 1).work

        def scaled(values: Tensor) -> Tensor:
            return resize(values[..., box.top : box.bottom, box.left : box.right], work)[0]

        marked = None if mask is None else scaled(mask).clamp(0, 1)
        stands = torch.zeros(work[::-1], dtype=torch.bool) if subject is None else scaled(subject)[0] > 0.5
        return cls(scaled(pixels), stands, marked, box.left, box.top, box.side / max(work))

    def in_image(self, placement: Placement) -> Placement:
        """Return a placement in the view as one in the image."""
        left, top, side = (round(self.factor * length) for length in (placement.left, placement.top, placement.side))
        return placement._replace(left=self.left + left, top=self.top + top, side=side)


def place_standing(
    standing: Standing, mask: Tensor | None, template: Tensor, model_ground: Tensor, *, keep_whole: bool
) -> Place | None:
    """Return the place of the subject of an image on a smooth ground, which a template (3, n, n) shows.

    The template has the size of the model and is a difference to ``model_ground`` (3, 1, 1). An image in the frame of
    the model has no placement, unless ``keep_whole``. None if more than a subject stands out from another ground.
    """
    view = View.of(standing.pixels, standing.subject, mask, template.shape[-1])
    image = view.pixels - model_ground
    best, whole = place_template(image, template, view.mask), whole_image(image, template)
    best = hold(view.subject, best)
    in_frame = BETTER * whole.cost <= best.cost < EXPLAINED
    if not in_frame and (best.cost >= EXPLAINED or cuts(view.subject, best)):
        part = _place_part(standing, mask, template, model_ground)
        if part is not None and part.cost < BETTER * whole.cost:
            return Place(part, standing)
        if not standing.on_model_ground:
            return None
        in_frame = best.cost < EXPLAINED
    if best.cost >= EXPLAINED:
        return Place(None, explained=False)
    if in_frame and standing.on_model_ground and not keep_whole:
        return Place(None)
    found = whole if in_frame else hold(view.subject, refine(image, template, best, view.mask))
    return Place(view.in_image(found), standing)


def place_by_outline(pixels: Tensor, mask: Tensor | None, template: Tensor, model_ground: Tensor) -> Place:
    """Return the place of the subject of an image (1, 3, H, W) on any ground, which the predicted subject hides."""
    view = View.of(pixels, None, mask, template.shape[-1])
    shown, outline = template + model_ground, predicted_outline(template)
    image, hiding = _differences(view, shown, outline)
    best, whole = place_template(image, hiding, view.mask), whole_image(image, hiding)
    best_rest, whole_rest = (unexplained(image, hiding, outline, one) for one in (best, whole))
    if BETTER * whole.cost <= best.cost or whole_rest <= best_rest:
        best, best_rest = whole, whole_rest
    else:
        best = refine(image, hiding, best, view.mask)
    placement = view.in_image(best) if best_rest < UNEXPLAINED else None
    fine = View.of(pixels, None, mask, FINER * template.shape[-1])
    small = _place_small(fine, shown, outline)
    if small is not None:
        doubt = math.inf if placement is None else unexplained_beside(pixels, shown, outline, placement)
        placement = small if small.cost < CLEARER * doubt else placement
    if placement is None:
        return Place(None, explained=False)
    more = mask is None and _has_another(fine, shown, outline, placement)
    subject = cut_out(pixels, placement, outline)
    return Place(placement, Standing.cut_out(pixels, subject, model_ground), cut=True, more=more)


def _differences(view: View, shown: Tensor, outline: Tensor) -> tuple[Tensor, Tensor]:
    """Return differences to the border colour: of a view, and of a predicted image (3, n, n) under its outline."""
    ground = border_colour(view.pixels)
    return view.pixels - ground, (shown - ground) * outline


def _place_small(view: View, shown: Tensor, outline: Tensor) -> Placement | None:
    """Return the place of a small subject in a view, whose cost is relative to the colour beside it.

    ``shown`` (3, n, n) is the predicted image. None if the prediction does not show it.
    """
    image, hiding = _differences(view, shown, outline)

    def beside(one: Placement) -> Placement:
        return one._replace(cost=unexplained_beside(view.pixels[None], shown, outline, one))

    sides = (round(scale * max(image.shape[-2:])) for scale in SMALL)
    tried = map(beside, small_places(image, hiding, outline, sides, covering(view.mask)))
    best = min(tried, key=lambda one: one.cost, default=None)
    if best is None or best.cost >= HIDDEN:
        return None
    near = small_places(image, hiding, outline, sides_around(best.side), centred_in(best))
    best = next((beside(one) for one in near if one.mirrored == best.mirrored), best)
    return view.in_image(best) if best.cost < HIDDEN else None


def _has_another(view: View, shown: Tensor, outline: Tensor, found: Placement) -> bool:
    """Return whether a view shows a subject of about the same size again beside the one found in the image."""
    image, hiding = _differences(view, shown, outline)
    left, top, side = (round(length / view.factor) for length in (found.left, found.top, found.side))
    sides = {round(side * STEP**step) for step in range(-2, 3)}
    others = small_places(image, hiding, outline, sides, centred_beside(found._replace(left=left, top=top, side=side)))
    return any(unexplained_beside(view.pixels[None], shown, outline, one) < HIDDEN for one in others)


def _place_part(standing: Standing, mask: Tensor | None, template: Tensor, model_ground: Tensor) -> Placement | None:
    """Return the best placement in a part of an image with a smooth ground; None if none shows the subject.

    In the whole image a small subject has too few pixels, and several ones hide each other's cost.
    """
    found = []
    for box in _boxes(standing.subject):
        view = View.of(standing.pixels, standing.subject, mask, template.shape[-1], box)
        if view.mask is not None and not view.mask.any():
            continue
        image = view.pixels - model_ground
        best = place_template(image, template, view.mask)
        placement = hold(view.subject, refine(image, template, best, view.mask))
        if placement.cost < EXPLAINED and not cuts(view.subject, placement):
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
