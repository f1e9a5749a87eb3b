"""Colours and alpha of a result that was computed on white.

A model sees an image on white: ``W = a * c + (1 - a)`` for colour c and alpha a. Everything here takes a result on
white and finds stored values that show it, and that hold nothing of the white on any other ground. Colours are float32
(H, W, 3), alpha is (H, W, 1), both in [0, 1].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .colour import Values

OPAQUE, CLEAR = 0.98, 0.02
"""Alpha from which a pixel counts as opaque, and up to which as clear."""
CONTOUR = 3
"""Distance in pixels between opaque and clear pixels up to which those between them are a contour."""
MOST_CONTOUR = 16
"""Largest such distance, which bounds the cost for large images."""
_ALIKE, _UNLIKE = 0.15, 0.4
"""Difference of two colours up to which they count as alike, and from which as unlike."""
_LEAST_ALPHA = np.float32(1 / 255)
_WHITE = 0.05
"""Part of a clear pixel that a drawing may cover while it still counts as white ground."""
_LEAST_CHANGE = np.float32(2e-4)
"""Change up to which a pixel counts as unchanged where that decides more than its own colour: less is rounding."""
_RIM = 3
"""Pixels beside the white ground that may be half transparent."""

Mask = NDArray[np.bool_]


def add_change(
    colours: Values, alpha: Values, change: Values, painted: Values | None = None, reach: int = CONTOUR
) -> tuple[Values, Values]:
    """Return colours and alpha that show ``change`` (H, W, 3) of an image on white.

    ``painted`` (H, W, 1) is the share of each pixel's transparent part that is painted over. In premultiplied colours

        a' = a + painted * (1 - a),    a' * c' = a * c + change + painted * (1 - a),

    which shows exactly the changed image on white where c' is a colour. At contours alpha is the coverage of a shape,
    and the model's edge is nowhere exactly in its place: c' is then c with the change of the opaque pixels beside it,
    as far as their colours are alike; a shadow keeps its colour. Where nothing changes, and where a' is 0, c' is c.
    ``reach`` is the width of a contour in pixels.
    """
    clear = 1 - alpha
    more = np.zeros_like(alpha) if painted is None else painted * clear
    new_alpha = np.minimum(alpha + more, 1)
    changed = (change != 0).any(-1, keepdims=True) | (more != 0)
    straight = (alpha * colours + change + more) / np.maximum(new_alpha, _LEAST_ALPHA)
    moved = _is_changed(change)
    at_contour = _contour(alpha, reach) & (more == 0) & moved
    if at_contour.any():
        near, reached = _from_opaque(colours, change, (alpha >= OPAQUE) & moved, reach)
        straight = np.where(at_contour & reached, colours + near, straight)
    result = np.where(changed & (new_alpha > 0), straight.clip(-1, 2), colours)
    return np.asarray(result, dtype=np.float32), np.asarray(new_alpha, dtype=np.float32)


def _is_changed(change: Values) -> Mask:
    """Pixels (H, W, 1) whose change is more than rounding."""
    return np.asarray((np.abs(change) > _LEAST_CHANGE).any(-1, keepdims=True))


def least_painted(on_white: Values, alpha: Values) -> Values:
    """Return the least share (H, W, 1) of transparent parts to paint over so that colours on white can be shown."""
    clear = 1 - alpha
    lacking = (clear - on_white.min(-1, keepdims=True)).clip(0, 1)
    return np.asarray((lacking / np.maximum(clear, 1e-6)).clip(0, 1), dtype=np.float32)


def drawn_share(on_white: Values, alpha: Values, ground: Mask) -> Values:
    """Return the share (H, W, 1) of transparent parts that a drawing on white covers.

    White that is connected with ``ground`` (H, W), or with the border of the image, is ground; white within a drawing
    is part of it. Pixels beside the ground are covered by the amount of colour they have.
    """
    import cv2

    amount = least_painted(on_white, alpha)
    white = (amount[..., 0] < _WHITE) & (alpha[..., 0] < OPAQUE)
    _, parts = cv2.connectedComponents(white.astype(np.uint8), connectivity=4)
    seeds = ground.copy()
    seeds[[0, -1]] = seeds[:, [0, -1]] = True
    is_ground = np.isin(parts, np.unique(parts[seeds & white])) & white
    beside = cv2.dilate(is_ground.astype(np.uint8), np.ones((2 * _RIM + 1,) * 2, np.uint8)) > 0
    soft = np.where(amount < _WHITE / 2, 0, amount)
    return np.asarray(np.where(beside[..., None], soft, 1), dtype=np.float32)


def resized_colours(straight: Values, premultiplied: Values, alpha: Values) -> Values:
    """Return colours from resampled premultiplied ones; ``straight`` are resampled too, for clear pixels."""
    return np.where(alpha > 2 * _LEAST_ALPHA, premultiplied / np.maximum(alpha, _LEAST_ALPHA), straight)


def far_from_transparency(alpha: Values, distance: int) -> Mask:
    """Return the pixels (H, W, 1) that have opaque ones alone within a distance."""
    return ~_dilate(alpha[..., 0] < OPAQUE, distance)[..., None]


def _contour(alpha: Values, reach: int) -> Mask:
    """Pixels (H, W, 1) that are not opaque and have an opaque and a clear pixel within ``reach``."""
    opaque, clear = (_dilate(part, reach) for part in (alpha[..., 0] >= OPAQUE, alpha[..., 0] <= CLEAR))
    return np.asarray(((alpha[..., 0] < OPAQUE) & opaque & clear)[..., None])


def _dilate(mask: Mask, reach: int) -> Mask:
    import cv2

    if not mask.any():
        return mask
    return np.asarray(cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5) <= reach)


def _from_opaque(colours: Values, change: Values, counted: Mask, reach: int) -> tuple[Values, Mask]:
    """Return the change of the ``counted`` pixels near each pixel, and where there are any, (H, W, 1).

    They are opaque and changed, since beyond the edge of a mask nothing changes. The change fades to 0 for pixels of
    another colour.
    """
    import cv2

    weight = counted.astype(np.float32)
    size = (2 * ((reach + 1) // 2) + 1,) * 2
    # Two averages over a square fall off linearly, and cost the same at any reach.
    total, sum_of_changes, sum_of_colours = (
        cv2.blur(cv2.blur(values, size), size).reshape(values.shape)
        for values in (weight, change * weight, colours * weight)
    )
    share = np.maximum(total, np.float32(1e-12))
    near, unlike = sum_of_changes / share, np.abs(colours - sum_of_colours / share).max(-1, keepdims=True)
    alike = ((_UNLIKE - unlike) / (_UNLIKE - _ALIKE)).clip(0, 1)
    return np.asarray(near * alike, dtype=np.float32), np.asarray(total > 1e-6)
