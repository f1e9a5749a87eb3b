"""Convert PIL images to arrays, luminance and opaque images, without torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from ..errors import InvalidParameter
from .sources import MAX_PIXELS, describe_source
from .stored.decoding import decode
from .stored.deep import has_deep_channel
from .stored.image import StoredImage

_BLACK_STROKES = 32
"""Luminance up to which all that is visible of a layer counts as black."""


def strip_metadata(image: Image.Image, name: str) -> Image.Image:
    """Copy an image without its metadata, which Pillow would write to the file.

    Raises InvalidParameter for modes other than RGB, RGBA and L, and for no pixels or more than MAX_PIXELS.
    """
    if image.mode not in ("RGB", "RGBA", "L"):
        raise InvalidParameter(f"{name} has mode {image.mode}; RGB, RGBA or L is allowed: use open_image first")
    width, height = image.size
    if not 0 < width * height <= MAX_PIXELS:
        raise InvalidParameter(f"{name} has {width} x {height} pixels; 1 to {MAX_PIXELS} are allowed in all")
    copy = image.copy()
    copy.info.clear()
    return copy


def luminance(image: Image.Image) -> Image.Image:
    """Luminance of an image of mode L, RGB or RGBA, multiplied by its alpha, in mode L."""
    grey = image.convert("L")
    return ImageChops.multiply(grey, image.getchannel("A")) if image.mode == "RGBA" else grey


def eight_bit_values(image: Image.Image, colour: bool) -> NDArray[np.uint8]:
    """Return the channels of an image on black if they differ and ``colour`` is set, else its luminance on black.

    Of black strokes on a transparent layer it is their opacity, as nothing else is in it.
    """
    grey = np.asarray(luminance(image))
    if image.mode == "RGBA" and grey.max() < _BLACK_STROKES:
        alpha = np.asarray(image.getchannel("A"))
        return alpha if alpha.min() < alpha.max() else grey
    flat = np.asarray(image.convert("RGB"))
    if not colour or not (flat != flat[..., :1]).any():
        return grey
    if image.mode != "RGBA":
        return flat
    return np.asarray(Image.composite(image.convert("RGB"), Image.new("RGB", image.size), image.getchannel("A")))


def pixels(image: Image.Image) -> NDArray[np.float32]:
    """Pixels (H, W, 3) of an image of mode RGB or RGBA on a white background, float32 sRGB.

    They lie in [0, 1], except those outside sRGB's gamut of an image with a wider profile. Raises BadImage for any
    other mode.
    """
    return StoredImage.of(image).on_white()


def on_white(image: Image.Image) -> Image.Image:
    """Composite an image of any mode on white, as models and annotators get it; returns mode RGB.

    Raises BadImage for numbers whose white is unknown, such as 32-bit integers.
    """
    if has_deep_channel(image):  # Pillow clips them to 255
        image = decode(image, b"", describe_source(image, "image"), use_profile=False).view()
    if image.has_transparency_data:
        background = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(background, image.convert("RGBA"))
    return image.convert("RGB")
