"""The colours of a picture as the model sees them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def on_white(picture: Image.Image) -> NDArray[np.uint8]:
    """The colours (H, W, 3), 0 to 255, of a picture of any mode laid on white."""
    if picture.has_transparency_data:
        ground = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(ground, picture.convert("RGBA"))
    return np.asarray(picture.convert("RGB"))
