"""Masks drawn in colour: two colours, and areas of several colours."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Colours = NDArray[np.uint8]
"""(H, W, 3)."""

COLOURED = 48
"""Difference between the channels of a pixel from which it counts as coloured."""
_FAR = 64
_NEAR_LINE = 40
_MOST_AREAS = 64
_FAR_END = 1.15
"""Place on the line between two colours, 1 at the second one, from which that one counts as a mixture."""
_SAMPLE = 200_000
"""Pixels by which a large image is judged."""


def has_colour(colours: Colours) -> bool:
    """Whether any pixel is not grey."""
    return bool((colours.max(-1).astype(np.int16) - colours.min(-1) > COLOURED).any())


class TwoColours(NamedTuple):
    """Split of an image into two colours."""

    shares: NDArray[np.float32]
    """(H, W): 0 at the ground, 1 at the marked colour, between them at smooth edges."""
    ground: str
    """Colour as #rrggbb."""
    marked: str


def split_two_colours(colours: Colours, *, lossy: bool = False) -> TwoColours | None:
    """Split an image that has two colours and mixtures of them; None for another.

    The ground is the colour that is nearly black, else the one of most pixels at the border. A ``lossy`` file has
    coarse colours beside an edge, which are rounded to the nearer of the two.
    """
    sample = _sample(colours)
    pair = _two_most_frequent(sample)
    if pair is None:
        return None
    first, second = pair
    axis, places = _along(sample, first, second)
    if lossy and (far := float(np.quantile(places[places > 0.5], 0.75))) > _FAR_END:
        # Of a small part the pixels at its edge, which are mixtures, may be the most frequent.
        second = _mean_colour(sample[places > 0.85 * far])
        axis, places = _along(sample, first, second)
    off = np.linalg.norm(sample - (first + places.clip(0, 1)[:, None] * axis), axis=1)
    at_ends = (places < 0.15) | (places > 0.85)
    if (off <= _NEAR_LINE).mean() < (0.95 if lossy else 0.98) or at_ends.mean() < (0.8 if lossy else 0.9):
        return None
    shares = ((colours.astype(np.float32) - first) @ (axis / (axis @ axis))).clip(0, 1).astype(np.float32)
    if lossy:
        shares = ((shares - 0.45) / 0.1).clip(0, 1)
    border = np.concatenate([shares[0], shares[-1], shares[:, 0], shares[:, -1]])
    dark = [float(colour.max()) < COLOURED for colour in pair]
    if dark[1] or (not dark[0] and border.mean() > 0.5):
        first, second, shares = second, first, 1 - shares
    return TwoColours(shares, _name(first), _name(second))


def _along(sample: Colours, first: NDArray[np.float32], second: NDArray[np.float32]) -> tuple[Any, Any]:
    """Return the line from one colour to another, and the places of colours (N, 3) on it: 0 at the first, 1 at the
    second."""
    axis = second - first
    return axis, (sample - first) @ axis / (axis @ axis)


def _sample(colours: Colours) -> Colours:
    """Evenly spaced pixels (N, 3) of an image, all of a small one."""
    return colours.reshape(-1, 3)[:: max(1, colours.shape[0] * colours.shape[1] // _SAMPLE)]


def _numbers(colours: Colours) -> NDArray[np.int32]:
    """Colours (..., 3) as numbers of 24 bits."""
    red, green, blue = (colours[..., channel].astype(np.int32) for channel in range(3))
    return (red << 16) + (green << 8) + blue


def _two_most_frequent(flat: Colours) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """The most frequent of colours (N, 3), and the most frequent of those far from it."""
    red, green, blue = ((flat[:, channel] >> 4).astype(np.int32) for channel in range(3))
    keys = (red << 8) + (green << 4) + blue
    counts = np.bincount(keys, minlength=4096)
    first = _mean_colour(flat[keys == counts.argmax()])
    cells = np.stack(np.unravel_index(np.arange(4096), (16, 16, 16)), axis=1) * 16 + 8
    counts[np.linalg.norm(cells - first, axis=1) < _FAR] = 0
    return None if not counts.any() else (first, _mean_colour(flat[keys == counts.argmax()]))


def _mean_colour(flat: Colours) -> NDArray[np.float32]:
    return np.asarray(flat.mean(0), dtype=np.float32)


def _name(colour: NDArray[np.float32]) -> str:
    return "#" + "".join(f"{round(float(level)):02x}" for level in colour)


def labels_of_colours(colours: Colours) -> NDArray[np.bool_] | None:
    """Return where areas of few colours are not black, (H, W); None for many colours, or none that is black."""
    if len(np.unique(_numbers(_sample(colours)))) > _MOST_AREAS:
        return None
    numbers = _numbers(colours)
    present = np.unique(numbers)
    return numbers != 0 if len(present) <= _MOST_AREAS and present[0] == 0 else None
