"""Measures of an edited image that need no weights, outside and inside of a mask.

The measures outside a mask do not depend on what lies inside it, also where a measure looks at a neighbourhood: the
result's pixels inside are replaced by the source's, and the map of the measure is averaged over the pixels outside. The
measures inside exchange the two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import structural_similarity

from editkit import evaluation

Pixels = NDArray[np.float64]
"""An image (H, W, 3) in [0, 1]."""
Region = NDArray[np.bool_]
"""A mask (H, W)."""

WINDOW = 11
"""Side in pixels of the Gaussian window of SSIM (Wang 2004), whose deviation is 1.5."""
CONTRAST = 170 / 255**2
"""Constant of the gradient similarity (arXiv 1308.3052), for pixels in [0, 1]."""


def to_pixels(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("RGB"), dtype=np.float64) / 255


def measure_image(source: Pixels, result: Pixels, edited: Region | None) -> dict[str, float | None]:
    """Return the measures of a result by name; without a mask only those of the whole image.

    A value is None where it is not defined, such as outside a mask that marks every pixel.
    """
    if edited is None:
        return {**_measure_region(source, result, None, ""), "gradient": gradient_similarity(source, result)}
    kept = ~edited
    return {
        **_measure_region(source, result, kept, "_outside"),
        **_measure_region(source, result, edited, "_inside"),
        "gradient": gradient_similarity(source, result),
        "leakage": leakage(source, result, edited),
    }


def _measure_region(source: Pixels, result: Pixels, region: Region | None, suffix: str) -> dict[str, float | None]:
    values: dict[str, float | None] = dict.fromkeys(("psnr", "mse", "ssim"))
    if region is None or region.any():
        alone = result if region is None else np.where(region[..., None], result, source)
        error = float(np.square(source - result)[... if region is None else region].mean())
        values = {"psnr": evaluation.psnr_of_error(error), "mse": error, "ssim": similarity(source, alone, region)}
        if region is not None:
            values["gradient"] = gradient_similarity(source, alone, region)
    elif suffix:
        values["gradient"] = None
    return {f"{name}{suffix}": value for name, value in values.items()}


def similarity(source: Pixels, result: Pixels, region: Region | None = None) -> float | None:
    """Return the mean SSIM (Wang 2004) over a region, without the border that a whole window does not fit in.

    None for an image that is smaller than the window, and for a region that lies within the border.
    """
    if min(source.shape[:2]) < WINDOW:
        return None
    _, values = structural_similarity(
        source,
        result,
        data_range=1.0,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    inner = (slice(WINDOW // 2, -(WINDOW // 2)),) * 2
    return _mean_over(values.mean(2)[inner], None if region is None else region[inner])


def gradient_similarity(source: Pixels, result: Pixels, region: Region | None = None) -> float | None:
    """Return the mean similarity of gradient magnitudes over a region (GMSM, arXiv 1308.3052): 1 for one structure.

    As in the paper, gradients are Prewitt's, of the luminance at half the size. A pixel of that size is in the region
    if all of its four are. None for an image of fewer than two pixels on a side.
    """
    if min(source.shape[:2]) < 2:
        return None
    one, other = (_gradient_magnitude(_halve(pixels @ np.array([0.299, 0.587, 0.114]))) for pixels in (source, result))
    values = (2 * one * other + CONTRAST) / (np.square(one) + np.square(other) + CONTRAST)
    return _mean_over(values, None if region is None else _halve(region.astype(np.float64)) == 1)


def _halve(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of blocks of 2 x 2 pixels (H/2, W/2); an odd last row or column is left out."""
    height, width = (side // 2 * 2 for side in values.shape)
    blocks: NDArray[np.float64] = values[:height, :width].reshape(height // 2, 2, width // 2, 2).mean((1, 3))
    return blocks


def _gradient_magnitude(luminance: NDArray[np.float64]) -> NDArray[np.float64]:
    padded = np.pad(luminance, 1, mode="edge")
    rows = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    columns = (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]) / 3
    magnitude: NDArray[np.float64] = np.hypot(rows[:, 2:] - rows[:, :-2], columns[2:] - columns[:-2])
    return magnitude


def _mean_over(values: NDArray[np.float64], region: Region | None) -> float | None:
    chosen = values if region is None else values[region]
    return float(chosen.mean()) if chosen.size else None


def leakage(source: Pixels, result: Pixels, edited: Region) -> float | None:
    """Return the share in [0, 1] of the squared change that lies outside the mask.

    None for a result without any change, and for a mask that marks every pixel.
    """
    change: NDArray[Any] = np.square(result - source).sum(2)
    if edited.all() or not change.any():
        return None
    return float(change[~edited].sum() / change.sum())
