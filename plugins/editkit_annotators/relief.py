"""The relief of a thing on a plain ground: its silhouette, inflated like a balloon.

Inside the silhouette the height is the square root of the solution of Poisson's equation with zero on the outline,
which makes a half-sphere of a disc: the solution over a disc of radius r is (r**2 - distance**2) / 4. The equation of
shapes: Gorelick et al. 2006, https://doi.org/10.1109/TPAMI.2006.253.
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
"""How far, in 8-bit levels of any colour, the ground may be from its colour."""
PLAIN_SHARE = 0.5
"""Share of the picture's border that must have one colour for the ground to be plain."""
PRECISION = 1e-3
"""Residual at which the solver stops, relative to that of no solution: heights are then right to a thousandth."""

NEIGHBOURS = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], dtype=np.float32)


def relief_annotator(params: Params) -> Annotator:
    """Return the annotator of reliefs, which has no parameters."""
    return inflate


def inflate(picture: Image.Image) -> NDArray[np.float32]:
    """The relief (H, W) of the things in a picture: the ground is 0 and the highest place is 1.

    A thing that the picture's border cuts off ends there. A picture of nothing but ground is flat. Raises BadImage
    where the ground is not plain.
    """
    inside = silhouette(picture)
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


def silhouette(picture: Image.Image) -> NDArray[np.bool_]:
    """Where a picture (H, W) shows something other than its ground.

    The ground is what is more transparent than not or, in an opaque picture, what has the colour of the picture's
    border and is connected to it, so that a white eye on a white ground belongs to the face. Raises BadImage where
    less than :data:`PLAIN_SHARE` of the border has one colour.
    """
    if picture.has_transparency_data:
        opaque: NDArray[np.bool_] = np.asarray(picture.convert("RGBA").getchannel("A")) >= 128
        if not opaque.all():
            return opaque
    colours = np.asarray(on_white(picture))
    border = np.concatenate([colours[0], colours[-1], colours[:, 0], colours[:, -1]])
    ground = np.median(border, axis=0).astype(np.uint8)
    plain = _channel_distance(border[None], ground) <= TOLERANCE
    if plain.mean() < PLAIN_SHARE:
        raise BadImage(
            f"a relief needs a plain ground, but only {plain.mean():.0%} of the picture's border has one colour (at "
            f"least {PLAIN_SHARE:.0%} is needed): cut the thing out, use the kind 'depth', or give a control image"
        )
    return ~_connected_to_border(_channel_distance(colours, ground) <= TOLERANCE)


def _channel_distance(colours: NDArray[np.uint8], colour: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The largest difference (H, W) of any channel of (H, W, 3) from one colour, in levels."""
    difference: NDArray[np.uint8] = (np.maximum(colours, colour) - np.minimum(colours, colour)).max(axis=2)
    return difference


def _connected_to_border(chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Those of the chosen pixels (H, W) that hang together with chosen pixels of the border."""
    _, labels = cv2.connectedComponents(chosen.astype(np.uint8), connectivity=4)
    labels[~chosen] = 0
    reached = np.zeros(labels.max() + 1, dtype=bool)
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        reached[side] = True
    reached[0] = False
    connected: NDArray[np.bool_] = reached[labels]
    return connected


def solve_poisson(inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The solution (H, W) of -laplace(u) = 1 inside and u = 0 outside, by conjugate gradients."""
    within = inside.astype(np.float32)
    solution, residual = np.zeros_like(within), within.copy()
    direction = residual.copy()
    left = start = float(np.vdot(residual, residual))
    while left > PRECISION**2 * start:
        image = cv2.filter2D(direction, -1, NEIGHBOURS, borderType=cv2.BORDER_CONSTANT) * within
        step = left / float(np.vdot(direction, image))
        solution += step * direction
        residual -= step * image
        before, left = left, float(np.vdot(residual, residual))
        direction = residual + left / before * direction
    return np.maximum(solution, 0)
