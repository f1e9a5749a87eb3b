"""Find small subjects on any ground: by what their predicted shape hides, and by the colour beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ...images.canvas import resize
from .registration import MIRROR_DOUBT, SCALES, STEP, Placement, correlate, misses, resize_template

FINER = 2
"""Scale at which small subjects are looked for, relative to the model's: at its own they have too few pixels."""
SMALL = tuple(SCALES[-1] * STEP**step for step in range(9))
"""Sides of a small subject that are tried, from 0.39 to 0.2 of the longest side of the image."""
HIDDEN = 0.3
"""Share of the squared difference under the outline of a small subject, to the border colour and to the colours beside
it, up to which it is found. Of 70 images on photographs it was so for one under the prediction of another subject, and
in two of three right places."""
CLEARER = 0.5
"""The same relative to that of a larger placement, from which a small one is preferred."""
FAINT = 0.002
"""Squared difference of a pixel to the ground that counts at least, so that a flat ground is not explained."""
PLACES = 3
"""Most places of one side that are compared with the colour beside them."""
RING = (1 / 32, 3 / 32)
"""Distance of the colours beside a subject from its outline, as shares of the side."""
Allowed = Callable[[tuple[int, int], int], Tensor]
"""Returns for the shape of all shifts, and a side, which of them are allowed."""
LEAST_RING = 0.005
"""Least area of the visible colours beside a subject, as a share of its square's: one that fills the image has none."""


def small_places(
    image: Tensor, template: Tensor, outline: Tensor, sides: Iterable[int], allowed: Allowed
) -> list[Placement]:
    """Return places in an image (3, H, W) where little is unexplained under the outline, their cost; the best first.

    Image and template (3, n, n) are differences to the ground, ``outline`` (1, n, n) is the template's. Of each side
    the best :data:`PLACES` are returned that do not overlap and are all of them in the image.
    """
    found = [one for side in sides for one in _at_side(image, template, outline, side, allowed)]
    return sorted((one for one in found if one.cost < HIDDEN), key=lambda one: one.cost)


def covering(mask: Tensor | None) -> Allowed:
    """Allow squares that cover some of what a mask (1, H, W) marks; all without one."""

    def allowed(shape: tuple[int, int], side: int) -> Tensor:
        if mask is None:
            return torch.ones(shape, dtype=torch.bool)
        return ~misses(mask, side)[side - 1 : side - 1 + shape[0], side - 1 : side - 1 + shape[1]]

    return allowed


def centred_in(other: Placement) -> Allowed:
    """Allow squares whose centre is in another placement."""

    def allowed(shape: tuple[int, int], side: int) -> Tensor:
        down, right = (torch.arange(length) + side / 2 for length in shape)
        rows = (down > other.top) & (down < other.top + other.side)
        return rows[:, None] & (right > other.left) & (right < other.left + other.side)

    return allowed


def centred_beside(other: Placement) -> Allowed:
    """Allow squares whose centre is not in another placement."""
    inside = centred_in(other)
    return lambda shape, side: ~inside(shape, side)


def _at_side(image: Tensor, template: Tensor, outline: Tensor, side: int, allowed: Allowed) -> Iterator[Placement]:
    """Yield the best placements of a side, as the template is and mirrored."""
    height, width = image.shape[-2:]
    shape = resize_template(torch.cat([template, outline]), side)
    under = shape[3:].clamp(0, 1)
    if side > min(height, width) or not under.any():
        return
    inside = slice(side - 1, height), slice(side - 1, width)
    energy = image.square().sum(0, keepdim=True)
    for mirrored in (False, True):
        placed, share = (part.flip(-1) if mirrored else part for part in (shape[:3], under))
        seen = correlate(energy, share)[inside].clamp(min=FAINT * float(share.sum()))
        left = seen - 2 * correlate(image, placed * share)[inside] + (placed.square() * share).sum()
        rest = left / seen * (MIRROR_DOUBT if mirrored else 1)
        rest = rest.masked_fill(~allowed((rest.shape[0], rest.shape[1]), side), math.inf)
        for _ in range(PLACES):
            top, start = divmod(int(rest.argmin()), rest.shape[1])
            if math.isinf(cost := float(rest[top, start])):
                break
            yield Placement(start, top, side, mirrored, cost)
            rest[max(0, top - side // 2) : top + side // 2 + 1, max(0, start - side // 2) : start + side // 2 + 1] = (
                math.inf
            )


def unexplained_beside(pixels: Tensor, shown: Tensor, outline: Tensor, placement: Placement) -> float:
    """Return the squared difference of a placed image to the pixels under its outline, relative to the colour beside.

    ``pixels`` (1, 3, H, W) is the whole image, ``shown`` (3, n, n) the predicted one. Where a shape is a part of
    something larger the colour beside it is much like its own, and little explained. 0 if nothing is beside it.
    """
    side, length = placement.side, shown.shape[-1]
    margin, wide = round(side / 4), 2 * round(length / 4) + length
    around = placement._replace(left=placement.left - margin, top=placement.top - margin, side=side + 2 * margin)
    cut = pixels.new_zeros(1, 4, around.side, around.side)
    rows, columns = around.overlaps(pixels)
    cut[..., rows[1], columns[1]] = F.pad(pixels[..., rows[0], columns[0]], (0, 0, 0, 0, 0, 1), value=1.0)
    seen = resize(cut.flip(-1) if placement.mirrored else cut, (wide, wide))[0]
    visible = (seen[3:] > 0.99).float()
    place = slice(round(length / 4), round(length / 4) + length)
    drawn, under = torch.zeros(3, wide, wide), torch.zeros(1, wide, wide)
    drawn[:, place, place], under[:, place, place] = shown, outline.clamp(0, 1)
    near, far = (_grown(under, share * length) for share in RING)
    ring = (far & ~near).float() * visible
    if float(ring.sum()) < LEAST_RING * length**2:
        return 0.0
    colour = (seen[:3] * ring).sum((1, 2), keepdim=True) / ring.sum()
    left, all_of_it = (((seen[:3] - other).square() * under * visible).sum() for other in (drawn, colour))
    return float(left / all_of_it.clamp(min=1e-6))


def _grown(outline: Tensor, by: float) -> Tensor:
    """Return whether a pixel is in an outline (1, n, n), or at most ``by`` pixels beside it."""
    reach = max(1, round(by))
    return F.max_pool2d(outline[None], 2 * reach + 1, 1, reach)[0] > 0.5
