"""Find where, how large and which way round a predicted image lies in another."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

STEP = 0.93
"""Ratio of a side of the template to the next larger one that is tried."""
SCALES = tuple(STEP**step for step in range(-3, 14))
"""Sides of the template that are tried, from 1.24 to 0.39 of the longest side of the image."""
MIRROR_DOUBT = 1.3
"""Factor on the cost of mirrored templates: nearly symmetric subjects stay as they are."""
HIDDEN_WEIGHT = 0.1
"""Weight of template content that would lie outside the image."""
COVERED = 0.25
"""Share of a mask, or of the visible square where that is smaller, that a placement has to cover."""


class Placement(NamedTuple):
    """Place of a square template in an image, in pixels of the image; it may reach beyond the image."""

    left: int
    top: int
    side: int
    mirrored: bool
    cost: float
    """Squared difference to the image, relative to that of an empty ground: 0 where the template is the image."""

    def overlaps(self, image: Tensor) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Return the rows and the columns in which an image (..., H, W) and the square overlap: of the image, of it."""
        height, width = image.shape[-2:]
        return _overlap(self.top, self.side, height), _overlap(self.left, self.side, width)

    def put_into(self, square: Tensor, image: Tensor) -> Tensor:
        """Return values (..., side, side) of the square, as the model sees it, at its place in an image of 0."""
        whole = square.new_zeros((*square.shape[:-2], *image.shape[-2:]))
        rows, columns = self.overlaps(image)
        turned = square.flip(-1) if self.mirrored else square
        whole[..., rows[0], columns[0]] = turned[..., rows[1], columns[1]]
        return whole


def _overlap(start: int, side: int, length: int) -> tuple[slice, slice]:
    first, last = max(0, start), min(length, start + side)
    return slice(first, last), slice(first - start, last - start)


def place_template(image: Tensor, template: Tensor, mask: Tensor | None = None) -> Placement:
    """Return the placement of a template, or of its mirror image, with the smallest squared difference to an image.

    ``image`` (3, H, W) and ``template`` (3, n, n) are differences to the ground, 0 where only the ground is. All shifts
    are tried at each side of :data:`SCALES`, of which a ``mask`` (1, H, W) leaves those that cover some of what it
    marks: of several subjects it chooses one.
    """
    sides = (max(4, round(scale * max(image.shape[-2:]))) for scale in SCALES)
    tried = (_place_at(image, template, side, mask, mirrored=way) for side in sides for way in (False, True))
    return min((whole_image(image, template), *tried), key=lambda one: one.cost)


def refine(image: Tensor, template: Tensor, placement: Placement, mask: Tensor | None = None) -> Placement:
    """Return the best placement with a side near that of a placement by :func:`place_template`, of the same arguments.

    All sides of whole pixels are tried up to the next ones of :data:`SCALES`: a side that is wrong by a few per cent
    shows as a rim around the edit.
    """
    sides = sides_around(placement.side)
    tried = (_place_at(image, template, side, mask, mirrored=placement.mirrored) for side in sides)
    return min((placement, *tried), key=lambda one: one.cost)


def sides_around(side: int) -> range:
    """Return all sides of whole pixels up to the next ones of :data:`SCALES`."""
    return range(math.ceil(STEP * side), math.floor(side / STEP) + 1)


def _place_at(image: Tensor, template: Tensor, side: int, mask: Tensor | None, *, mirrored: bool) -> Placement:
    """Return the placement with the smallest cost among all shifts at a side; its cost is infinite if there is none."""
    scaled = resize_template(template, side)
    costs = _costs(image, scaled.flip(-1) if mirrored else scaled)
    if mask is not None:
        costs = costs.masked_fill(misses(mask, side), math.inf)
    lowest = int(costs.argmin())
    top, left = (index - side + 1 for index in divmod(lowest, costs.shape[1]))
    cost = float(costs.flatten()[lowest]) * (MIRROR_DOUBT if mirrored else 1)
    return Placement(left, top, side, mirrored, cost)


def place_region(image: Tensor, first: Tensor, region: Placement) -> Placement:
    """Return the place in an image (3, H, W) of the region of another one, moved by whole pixels.

    Both are differences to the ground, and of one size.
    """
    side = region.side
    template = torch.zeros(3, side, side)
    rows, columns = region.overlaps(first)
    template[:, rows[1], columns[1]] = first[:, rows[0], columns[0]]
    costs = _costs(image, template)
    top, left = (index - side + 1 for index in divmod(int(costs.argmin()), costs.shape[1]))
    return region._replace(left=left, top=top, cost=float(costs.min()))


def whole_image(image: Tensor, template: Tensor) -> Placement:
    """Return the placement of a template over the whole image, centred along its shorter side."""
    whole = square_around(image)
    costs = _costs(image, resize_template(template, whole.side))
    return whole._replace(cost=float(costs[whole.top + whole.side - 1, whole.left + whole.side - 1]))


def unexplained(image: Tensor, template: Tensor, outline: Tensor, placement: Placement) -> float:
    """Return the squared difference of a placed template to an image under an outline, relative to that of the ground.

    Image (3, H, W) and template (3, n, n) are differences to the ground; ``outline`` (1, n, n) is the template's. On a
    ground that is not smooth it says more than the cost of the placement, most of which is what the ground shows.
    """
    placed = resize_template(torch.cat([template, outline]), placement.side)
    rows, columns = placement.overlaps(image)
    placed = (placed.flip(-1) if placement.mirrored else placed)[:, rows[1], columns[1]]
    seen, under = image[:, rows[0], columns[0]], placed[3:]
    error, all_of_it = ((difference.square() * under).sum() for difference in (seen - placed[:3], seen))
    return float(error / all_of_it.clamp(min=1e-9))


def square_around(image: Tensor) -> Placement:
    """Return the square over a whole image (..., H, W), centred along its shorter side, as a placement of no cost."""
    height, width = image.shape[-2:]
    side = max(height, width)
    return Placement((width - side) // 2, (height - side) // 2, side, mirrored=False, cost=0.0)


def misses(mask: Tensor, side: int) -> Tensor:
    """Whether a square covers too little of a mask (1, H, W), at each shift as in :func:`_costs`."""
    square = torch.ones(1, side, side)
    covered, visible = correlate(mask, square), correlate(torch.ones_like(mask), square)
    return covered < COVERED * torch.minimum(mask.sum(), visible) - 1e-3


def _costs(image: Tensor, template: Tensor) -> Tensor:
    """Cost of a template (3, n, n) at each shift that has a pixel in the image, (H + n - 1, W + n - 1).

    The squared difference over the image is ``sum |I|^2 - 2 sum I T + sum_inside |T|^2``: two cross-correlations.
    """
    inside = correlate(torch.ones_like(image[:1]), template.square().sum(0, keepdim=True))
    hidden = template.square().sum() - inside
    change = inside + HIDDEN_WEIGHT * hidden - 2 * correlate(image, template)
    return 1 + change / image.square().sum().clamp(min=1e-9)


def correlate(image: Tensor, template: Tensor) -> Tensor:
    """Full cross-correlation summed over channels, (H + n - 1, W + n - 1), by FFT."""
    size = [one + other - 1 for one, other in zip(image.shape[-2:], template.shape[-2:], strict=True)]
    fast = [2 ** math.ceil(math.log2(length)) for length in size]
    spectrum = torch.fft.rfft2(image, fast) * torch.fft.rfft2(template.flip(-2, -1), fast)
    correlation: Tensor = torch.fft.irfft2(spectrum.sum(0), fast)
    return correlation[: size[0], : size[1]]


def resize_template(template: Tensor, side: int) -> Tensor:
    """Return a template (C, n, n) at another side."""
    return F.interpolate(template[None], (side, side), mode="bilinear", antialias=True, align_corners=False)[0]
