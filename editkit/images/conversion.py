"""Convert PIL images to arrays, luminance and opaque images, without torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from ..errors import BadImage, InvalidParameter
from .sources import MAX_PIXELS, describe


def strip_metadata(image: Image.Image, name: str) -> Image.Image:
    """A copy without metadata, which Pillow would otherwise write to the file."""
    if image.mode not in ("RGB", "RGBA", "L"):
        raise InvalidParameter(f"{name} has mode {image.mode}; RGB, RGBA or L is allowed: use open_image first")
    width, height = image.size
    if not 0 < width * height <= MAX_PIXELS:
        raise InvalidParameter(f"{name} has {width} x {height} pixels; 1 to {MAX_PIXELS} are allowed in all")
    copy = image.copy()
    copy.info.clear()
    return copy


def luminance(picture: Image.Image) -> Image.Image:
    """The luminance of a picture of mode L, RGB or RGBA, less what is transparent, in mode L."""
    grey = picture.convert("L")
    return ImageChops.multiply(grey, picture.getchannel("A")) if picture.mode == "RGBA" else grey


def pixels(image: Image.Image) -> NDArray[np.float32]:
    """The pixels of a picture as a viewer with a white background shows them.

    Takes mode RGB or RGBA; returns (H, W, 3) float32 in [0, 1]. Raises BadImage for any other mode.
    """
    if image.mode not in ("RGB", "RGBA"):
        raise BadImage(f"{describe(image, 'image')} must have mode RGB or RGBA: pass it through open_image first")
    values: NDArray[np.float32] = np.asarray(image, dtype=np.float32) / np.float32(255)
    if image.mode == "RGB":
        return values
    alpha = values[..., 3:]
    shown: NDArray[np.float32] = values[..., :3] * alpha + (1 - alpha)
    return shown


def on_white(picture: Image.Image) -> Image.Image:
    """Lay a picture of any mode on white, as models and annotators see it; returns a picture of mode RGB."""
    if picture.has_transparency_data:
        ground = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(ground, picture.convert("RGBA"))
    return picture.convert("RGB")
