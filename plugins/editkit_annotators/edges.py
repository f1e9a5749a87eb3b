"""Edges by Canny's method (https://doi.org/10.1109/TPAMI.1986.4767851), with thresholds from the image itself.

Thresholds are in the units of a 3 x 3 Sobel gradient of 8-bit levels, as in OpenCV: a step of one level has
the gradient 4, a step from black to white 1020.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from editkit import Annotator, on_white

from . import EdgeParams

NOISE_GRADIENT = 20.0
"""Gradients up to this value, a step of five levels, count as noise and shading and do not affect the thresholds;
smoothing by more than a pixel lowers the value in proportion."""
MAX_GRADIENT = 1443
"""Largest possible gradient: a diagonal step from black to white."""
HIGH_FRACTION = 0.7
"""High threshold as a fraction of the gradient that divides strong from weak: 1 would lose fine lines of artwork."""
LOW_FRACTION = 0.4
"""Low threshold as a fraction of the high one; Canny advises a third to a half."""
SHARP_SIDE = 512
"""Longest side in pixels at which an image is smoothed with a standard deviation of one pixel."""
SUBLEVELS = 16
"""Subdivisions of a level in smoothed images: whole levels would turn a soft slope into terraces."""
MIN_SIGMA = 0.3
"""Below this value a Gaussian is narrower than a pixel and has no effect."""


def edge_annotator(params: EdgeParams) -> Annotator:
    """Return the annotator that ``params`` name: a detector, or Canny's method by OpenCV or scikit-image."""
    if params.detector is not None:
        from .detectors import detector_annotator

        return detector_annotator(params.detector, params.weights)
    find_edges = canny if params.method == "opencv" else canny_skimage
    return lambda image: find_edges(image, params.low, params.high, params.sigma)


def canny(
    image: Image.Image, low: float | None = None, high: float | None = None, sigma: float | None = None
) -> NDArray[np.float32]:
    """Return edges (H, W), 0 or 1, by OpenCV, which uses the steepest of the three colours at each pixel.

    ``low`` and ``high`` are the thresholds of the hysteresis; a missing one follows from the other, or both from the
    image. ``sigma`` is the standard deviation in pixels of the Gaussian that smooths the image first; by default it
    grows with the image, so that edges of a photograph stand out from its texture.
    """
    sigma = _smoothing_sigma(image.size) if sigma is None else sigma
    across, down = _gradients(np.asarray(on_white(image)), sigma)
    if low is None or high is None:
        low, high = _thresholds(across, down, sigma, low, high)
    edges: NDArray[np.float32] = (
        cv2.Canny(across, down, low * SUBLEVELS, high * SUBLEVELS, L2gradient=True).astype(np.float32) / 255
    )
    return edges


def canny_skimage(
    image: Image.Image, low: float | None = None, high: float | None = None, sigma: float | None = None
) -> NDArray[np.float32]:
    """Return edges (H, W), 0 or 1, by scikit-image, which uses grey and interpolates gradients between pixels."""
    from skimage import feature
    from skimage.morphology import skeletonize

    sigma = _smoothing_sigma(image.size) if sigma is None else sigma
    grey = cv2.cvtColor(np.asarray(on_white(image)), cv2.COLOR_RGB2GRAY)
    if low is None or high is None:
        low, high = _thresholds(*_gradients(grey, sigma), sigma, low, high)
    # As floats, levels and thresholds keep their unit.
    edges = feature.canny(grey.astype(np.float32), sigma, low_threshold=low, high_threshold=high, mode="nearest")
    # Both sides of a sharp step have the same gradient, and scikit-image keeps both.
    thin: NDArray[np.float32] = skeletonize(edges).astype(np.float32)
    return thin


def _smoothing_sigma(size: tuple[int, int]) -> float:
    return max(size) / SHARP_SIDE


def _gradients(levels: NDArray[np.uint8], sigma: float) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Return horizontal and vertical gradients of smoothed levels (H, W) or (H, W, 3), in units of 1 / SUBLEVELS."""
    fine = levels.astype(np.int16) * SUBLEVELS
    if sigma > MIN_SIGMA:
        fine = cv2.GaussianBlur(fine, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    across, down = (
        cv2.Sobel(fine, cv2.CV_16S, *order, ksize=3, borderType=cv2.BORDER_REPLICATE) for order in ((1, 0), (0, 1))
    )
    return across, down


def _thresholds(
    across: NDArray[np.int16], down: NDArray[np.int16], sigma: float, low: float | None, high: float | None
) -> tuple[float, float]:
    """Return both thresholds, of which at most one is given; without edges they are infinite."""
    if low is not None:
        return low, low / LOW_FRACTION
    if high is None:
        flatter = max(1.0, sigma)
        lengths = _gradient_lengths(across, down, int(flatter))
        lengths = lengths[lengths > NOISE_GRADIENT / flatter]
        high = HIGH_FRACTION * _otsu_threshold(lengths) if lengths.size else np.inf
    return LOW_FRACTION * high, high


def _gradient_lengths(across: NDArray[np.int16], down: NDArray[np.int16], step: int) -> NDArray[np.float32]:
    """Return the lengths of gradients at every ``step``-th row and column, of colours the largest."""
    lengths: NDArray[np.float32] = np.hypot(
        across[::step, ::step].astype(np.float32), down[::step, ::step].astype(np.float32)
    )
    return (lengths.max(axis=2) if lengths.ndim == 3 else lengths) / np.float32(SUBLEVELS)


def _otsu_threshold(values: NDArray[np.float32]) -> float:
    """Return the value that divides ``values`` into two classes with maximum variance between them.

    This is Otsu's method, https://doi.org/10.1109/TSMC.1979.4310076.
    """
    counts = np.bincount(np.minimum(values, MAX_GRADIENT).astype(np.int64), minlength=MAX_GRADIENT + 1).astype(
        np.float64
    )
    levels = np.arange(len(counts))
    below, sums = np.cumsum(counts), np.cumsum(counts * levels)
    gap = sums * below[-1] - sums[-1] * below
    between = np.square(gap) / np.maximum(below * (below[-1] - below), 1)
    return float(levels[np.argmax(between)]) if between.any() else float(values[0])
