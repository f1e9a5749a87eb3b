"""Digest of the pixels of an image, by which a replay verifies the images that it gets."""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image

from .image import StoredImage


def image_digest(image: Image.Image) -> str:
    """Return the SHA-256, in hexadecimal, of an image of mode L, RGB or RGBA; raises BadImage for other modes.

    Hashed are the ASCII text ``editkit image 1``, width, height, channels and bits per channel, each after a space and
    the last before a newline; the levels row by row, channels together, upright, straight alpha, 16-bit levels with the
    high byte first; then the bytes of the colour profile unless it equals sRGB. The digest does not depend on the file
    format: a lossless copy of an image has the same.
    """
    if image.mode == "L":
        levels, profile = np.asarray(image)[..., None], None
    else:
        stored = StoredImage.of(image)
        levels, profile = stored.levels, stored.profile
    height, width, channels = levels.shape
    digest = hashlib.sha256(f"editkit image 1 {width} {height} {channels} {8 * levels.dtype.itemsize}\n".encode())
    digest.update(np.ascontiguousarray(levels.astype(levels.dtype.newbyteorder(">"), copy=False)).data)
    if profile is not None and profile.curves is not None:
        digest.update(profile.data)
    return digest.hexdigest()
