"""The annotator."""

from __future__ import annotations

import dataclasses as dc

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from editkit import on_white


@dc.dataclass(frozen=True)
class Gradient:
    """Larger of the horizontal and the vertical difference of luminance, times ``gain``, in [0, 1]."""

    gain: float

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        grey = np.asarray(on_white(image).convert("L"), dtype=np.float32) / 255
        across = np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
        down = np.abs(np.diff(grey, axis=0, append=grey[-1:]))
        levels: NDArray[np.float32] = np.clip(self.gain * np.maximum(across, down), 0, 1).astype(np.float32)
        return levels
