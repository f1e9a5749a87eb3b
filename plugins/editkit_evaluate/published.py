"""Measures as the published code of PIE-Bench defines them (cure-lab/PnPInversion, ``evaluation``).

Unlike :mod:`.measures`, they

* set the outermost rows and columns of a mask to 1;
* multiply both images by the part to be compared and average over all pixels, so that the PSNR gains
  ``10 log10(all / compared)``, and the mean squared error and ``1 - SSIM`` shrink by about as much;
* average SSIM over the windows that lie in the image, as torchmetrics up to 1.3 (later ones reflect borders);
* leave the PSNR of equal parts infinite, and a part without any pixel without a value;
* blacken the rest of an image for LPIPS and for the CLIP similarity of the edited part;
* normalise images of 0 to 255 as if they were in [0, 1] for the distance of structures, and resize them without
  antialiasing, as torchvision 0.13 does, which that code names.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image
from skimage.metrics import structural_similarity

from .measures import WINDOW, Pixels, Region


def with_border(edited: Region) -> Region:
    """Return a mask whose outermost rows and columns are marked."""
    marked = edited.copy()
    marked[[0, -1], :] = marked[:, [0, -1]] = True
    return marked


def measure_as_published(source: Pixels, result: Pixels, edited: Region) -> dict[str, float | None]:
    """Return the measures outside and inside a mask with its border, by the names of the published code."""
    return {
        f"{name}_{part}_part": value
        for part, region in (("unedit", ~edited), ("edit", edited))
        for name, value in _measure_part(source, result, region).items()
    }


def _measure_part(source: Pixels, result: Pixels, region: Region) -> dict[str, float | None]:
    if not region.any():
        return dict.fromkeys(("psnr", "mse", "ssim"))
    one, other = source * region[..., None], result * region[..., None]
    error = float(np.square(one - other).mean())
    return {"psnr": math.inf if error == 0 else -10 * math.log10(error), "mse": error, "ssim": _similarity(one, other)}


def _similarity(one: Pixels, other: Pixels) -> float | None:
    if min(one.shape[:2]) < WINDOW:
        return None
    return float(
        structural_similarity(
            one,
            other,
            data_range=1.0,
            channel_axis=2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def blacken(image: Image.Image, region: Region) -> Image.Image:
    """Return an image with black outside a region."""
    return Image.fromarray(np.asarray(image.convert("RGB")) * region[..., None].astype(np.uint8))
