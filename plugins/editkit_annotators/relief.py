"""Relief of an object on a plain background: its silhouette, inflated like a balloon.

Inside the silhouette the height is the square root of the solution of Poisson's equation with zero on the outline
(Gorelick et al. 2006, https://doi.org/10.1109/TPAMI.2006.253). A disc of radius r has the solution
(r**2 - distance**2) / 4, so its relief is a half-sphere.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from editkit import Annotator, BadImage, Params, on_white

SOLVED_SIDE = 256
"""Longest side in pixels at which the equation is solved; its solution is smooth, and the outline stays sharp."""
TOLERANCE = 12
"""Maximum difference of background pixels from the background colour, in 8-bit levels of any channel."""
PLAIN_FRACTION = 0.5
"""Fraction of the image's border that must have one colour for the background to be plain."""
PRECISION = 1e-3
"""Residual at which the solver stops, relative to that of zeros: heights are then accurate to a thousandth."""

LAPLACIAN = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], dtype=np.float32)


def relief_annotator(params: Params) -> Annotator:
    """Return the annotator of reliefs, which has no parameters."""
    return inflate


def inflate(image: Image.Image) -> NDArray[np.float32]:
    """Return the relief (H, W) of the objects in an image, 0 on the background and 1 at the highest point.

    An object that the image's border cuts off ends there. Without an object the relief is 0 everywhere. Raises
    BadImage if the background is not plain.
    """
    inside = _silhouette(image)
    height, width = inside.shape
    scale = min(1.0, SOLVED_SIDE / max(inside.shape))
    if scale == 1.0:
        solution = solve_poisson(inside)
    else:
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        shrunk = cv2.resize(inside.astype(np.float32), small, interpolation=cv2.INTER_AREA)
        solution = solve_poisson(shrunk >= 0.5)
        solution = cv2.resize(solution, (width, height), interpolation=cv2.INTER_LINEAR) * inside
    highest = float(solution.max())
    relief: NDArray[np.float32] = np.sqrt(solution / highest) if highest > 0 else np.zeros_like(solution)
    return relief


def _silhouette(image: Image.Image) -> NDArray[np.bool_]:
    """Return the pixels (H, W) that do not belong to the background.

    The background is more transparent than opaque or, in an opaque image, has the colour of the border and is
    connected to it, so that a white eye on a white background belongs to the face. Raises BadImage if less than
    :data:`PLAIN_FRACTION` of the border has one colour.
    """
    if image.has_transparency_data:
        opaque: NDArray[np.bool_] = np.asarray(image.convert("RGBA").getchannel("A")) >= 128
        if not opaque.all():
            return opaque
    colours = np.asarray(on_white(image))
    border = np.concatenate([colours[0], colours[-1], colours[:, 0], colours[:, -1]])
    background = np.median(border, axis=0).astype(np.uint8)
    plain = _channel_distance(border[None], background) <= TOLERANCE
    if plain.mean() < PLAIN_FRACTION:
        raise BadImage(
            f"a relief needs a plain background, but only {plain.mean():.0%} of the image's border has one colour (at "
            f"least {PLAIN_FRACTION:.0%} is needed): cut the object out, use the kind 'depth', or give a control image"
        )
    return ~_connected_to_border(_channel_distance(colours, background) <= TOLERANCE)


def _channel_distance(colours: NDArray[np.uint8], colour: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the largest difference (H, W) of any channel of (H, W, 3) from one colour, in levels."""
    difference: NDArray[np.uint8] = (np.maximum(colours, colour) - np.minimum(colours, colour)).max(axis=2)
    return difference


def _connected_to_border(candidates: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the candidate pixels (H, W) that are connected to candidate pixels of the border."""
    _, labels = cv2.connectedComponents(candidates.astype(np.uint8), connectivity=4)
    labels[~candidates] = 0
    reached = np.zeros(labels.max() + 1, dtype=bool)
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        reached[side] = True
    reached[0] = False
    connected: NDArray[np.bool_] = reached[labels]
    return connected


def solve_poisson(inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Solve -laplace(u) = 1 inside and u = 0 outside by conjugate gradients; returns u (H, W)."""
    mask = inside.astype(np.float32)
    solution, residual = np.zeros_like(mask), mask.copy()
    direction = residual.copy()
    remaining = start = float(np.vdot(residual, residual))
    while remaining > PRECISION**2 * start:
        product = cv2.filter2D(direction, -1, LAPLACIAN, borderType=cv2.BORDER_CONSTANT) * mask
        step = remaining / float(np.vdot(direction, product))
        solution += step * direction
        residual -= step * product
        previous, remaining = remaining, float(np.vdot(residual, residual))
        direction = residual + remaining / previous * direction
    return np.maximum(solution, 0)
