"""Condition of each ControlNet for an image, and the agreement of another image with it."""

from __future__ import annotations

import dataclasses as dc
import functools
import math
from collections.abc import Callable, Iterable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from editkit import Annotator, BadImage, annotators

Map = NDArray[np.uint8]
"""A condition (H, W), 0 to 255."""


def distance_to(edges: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance in pixels from each position (H, W) to the nearest edge."""
    distance: NDArray[np.float32] = cv2.distanceTransform(
        (~edges).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    ).astype(np.float32)
    return distance


def f_score(found: Map, target: Map, *, tolerance: float) -> float:
    """Harmonic mean of the shares of each map's edges that have an edge of the other within ``tolerance`` pixels."""
    one, other = found > 127, target > 127
    if not one.any() or not other.any():
        return float(one.any() == other.any())
    precision = float((distance_to(other)[one] <= tolerance).mean())
    recall = float((distance_to(one)[other] <= tolerance).mean())
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def correlation(found: Map, target: Map) -> float:
    """Pearson correlation of two maps over all positions; 0 if one of them is constant."""
    one, other = (side.astype(np.float64) - side.mean() for side in (found, target))
    size = float(np.sqrt(np.square(one).sum() * np.square(other).sum()))
    return 0.0 if size == 0 else float((one * other).sum()) / size


@dc.dataclass(frozen=True)
class Kind:
    """One kind of control: its annotator, which returns a map (H, W) in [0, 1], and named measures of at most 1."""

    annotate: Callable[[Image.Image], NDArray[np.float32]]
    measures: dict[str, Callable[[Map, Map], float]]

    def map_of(self, pixels: NDArray[np.uint8]) -> Map | None:
        """Return the condition of an image (H, W, 3), or None if it has none: a relief needs a plain background."""
        try:
            values = self.annotate(Image.fromarray(pixels))
        except BadImage:
            return None
        return np.rint(255 * values).astype(np.uint8)

    def agreements(self, images: Iterable[NDArray[np.uint8]], conditions: Iterable[Map]) -> NDArray[np.float64]:
        """Agreement (N, measures) of images (N, H, W, 3) with conditions (N, H, W); NaN for images without a map."""
        rows = [
            [math.nan if found is None else measure(found, condition) for measure in self.measures.values()]
            for found, condition in zip(map(self.map_of, images), conditions, strict=True)
        ]
        return np.array(rows)


def annotator(name: str) -> Annotator:
    """Return a registered annotator with its default parameters."""
    spec = annotators()[name]
    return spec.load()(spec.params())


KINDS = {
    "edge": Kind(
        annotator("edge"),
        {f"F-score of the edges, {far} px": functools.partial(f_score, tolerance=float(far)) for far in (2, 1)},
    ),
    "relief": Kind(annotator("relief"), {"correlation of the reliefs": correlation}),
}


def to_control(maps: torch.Tensor) -> torch.Tensor:
    """Convert maps (B, H, W) uint8 to (B, 3, H, W) in [0, 1] with equal channels, as diffusers passes them."""
    return (maps.float() / 255)[:, None].expand(-1, 3, -1, -1)
