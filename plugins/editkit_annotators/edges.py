"""Edges by Canny's method (https://doi.org/10.1109/TPAMI.1986.4767851), with thresholds from the picture itself.

Thresholds are in the units of a 3 x 3 Sobel gradient of 8-bit levels, as OpenCV counts them: a step of one level has
the gradient 4, a step from black to white 1020.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from editkit import Annotator, on_white

from . import EdgeParams

FAINTEST = 20.0
"""Gradients up to this, a step of five levels, are noise and shading, and take no part in choosing thresholds; what is
smoothed by more than a pixel is as much flatter."""
STEEPEST = 1443
"""The largest gradient: a diagonal step from black to white."""
SHARE_OF_SPLIT = 0.7
"""High threshold as a share of the gradient that splits strong from weak: all of it loses fine lines of artwork."""
SHARE_OF_HIGH = 0.4
"""Low threshold as a share of the high one; Canny advises a third to a half."""
SHARP_SIDE = 512
"""Longest side in pixels at which a picture is smoothed with a standard deviation of one pixel."""
FINE = 16
"""Parts of a level in which smoothed pictures are kept: whole levels make terraces of a soft slope."""
SMALLEST_SIGMA = 0.3
"""Below this a Gaussian is narrower than a pixel and smooths nothing."""


def edge_annotator(params: EdgeParams) -> Annotator:
    """Return the annotator that ``params`` name: a detector, or Canny's method by OpenCV or scikit-image."""
    if params.detector is not None:
        from .detectors import detector

        return detector(params.detector, params.weights)
    find_edges = canny if params.method == "opencv" else canny_skimage
    return lambda image: find_edges(image, params.low, params.high, params.sigma)


def canny(
    picture: Image.Image, low: float | None = None, high: float | None = None, sigma: float | None = None
) -> NDArray[np.float32]:
    """Edges (H, W), 0 or 1, by OpenCV: at each pixel the steepest of the three colours counts.

    ``low`` and ``high`` are the thresholds of the hysteresis; one that is not given follows from the other, or both
    from the picture. ``sigma`` is the standard deviation in pixels of the Gaussian that smooths the picture first;
    not given it grows with the picture, so that the edges of a photograph do not drown in its texture.
    """
    sigma = smoothing(picture.size) if sigma is None else sigma
    across, down = gradients(np.asarray(on_white(picture)), sigma)
    if low is None or high is None:
        low, high = thresholds(across, down, sigma, low, high)
    found: NDArray[np.float32] = (
        cv2.Canny(across, down, low * FINE, high * FINE, L2gradient=True).astype(np.float32) / 255
    )
    return found


def canny_skimage(
    picture: Image.Image, low: float | None = None, high: float | None = None, sigma: float | None = None
) -> NDArray[np.float32]:
    """The same (H, W), 0 or 1, by scikit-image, which looks at grey and judges gradients between pixels."""
    from skimage import feature
    from skimage.morphology import skeletonize

    sigma = smoothing(picture.size) if sigma is None else sigma
    grey = cv2.cvtColor(np.asarray(on_white(picture)), cv2.COLOR_RGB2GRAY)
    if low is None or high is None:
        low, high = thresholds(*gradients(grey, sigma), sigma, low, high)
    # As floats the levels keep their unit, and so do the thresholds.
    edges = feature.canny(grey.astype(np.float32), sigma, low_threshold=low, high_threshold=high, mode="nearest")
    # The gradient on both sides of a sharp step is the same, and scikit-image keeps both sides.
    thin: NDArray[np.float32] = skeletonize(edges).astype(np.float32)
    return thin


def smoothing(size: tuple[int, int]) -> float:
    return max(size) / SHARP_SIDE


def gradients(levels: NDArray[np.uint8], sigma: float) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """The change of levels (H, W) or (H, W, 3) across and down, of the same shape, after smoothing; in 1 / FINE."""
    fine = levels.astype(np.int16) * FINE
    if sigma > SMALLEST_SIGMA:
        fine = cv2.GaussianBlur(fine, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    across, down = (
        cv2.Sobel(fine, cv2.CV_16S, *order, ksize=3, borderType=cv2.BORDER_REPLICATE) for order in ((1, 0), (0, 1))
    )
    return across, down


def thresholds(
    across: NDArray[np.int16], down: NDArray[np.int16], sigma: float, low: float | None, high: float | None
) -> tuple[float, float]:
    """Both thresholds, of which at most one is given; without edges they are infinite."""
    if low is not None:
        return low, low / SHARE_OF_HIGH
    if high is None:
        flatter = max(1.0, sigma)
        steep = steepness(across, down, int(flatter))
        steep = steep[steep > FAINTEST / flatter]
        high = SHARE_OF_SPLIT * split(steep) if steep.size else np.inf
    return SHARE_OF_HIGH * high, high


def steepness(across: NDArray[np.int16], down: NDArray[np.int16], step: int) -> NDArray[np.float32]:
    """The length of gradients at every ``step``-th pixel either way, of colours that of the steepest."""
    lengths: NDArray[np.float32] = np.hypot(
        across[::step, ::step].astype(np.float32), down[::step, ::step].astype(np.float32)
    )
    return (lengths.max(axis=2) if lengths.ndim == 3 else lengths) / np.float32(FINE)


def split(values: NDArray[np.float32]) -> float:
    """The value that divides ``values`` into two classes of the largest variance between them.

    Otsu's method, https://doi.org/10.1109/TSMC.1979.4310076.
    """
    counts = np.bincount(np.minimum(values, STEEPEST).astype(np.int64), minlength=STEEPEST + 1).astype(np.float64)
    levels = np.arange(len(counts))
    below, sums = np.cumsum(counts), np.cumsum(counts * levels)
    gap = sums * below[-1] - sums[-1] * below
    between = np.square(gap) / np.maximum(below * (below[-1] - below), 1)
    return float(levels[np.argmax(between)]) if between.any() else float(values[0])
