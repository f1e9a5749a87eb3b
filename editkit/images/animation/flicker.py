"""Flicker of a clip: change from frame to frame that the motion of its source does not explain."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..stored.image import StoredImage

_SMALLEST = 16
"""Shortest side in pixels at which motion is estimated; smaller frames count as still."""
_QUIET = 0.01, 0.5
"""Share of the squared motion, and squared pixels, by which there and back may differ (Sundaram et al., ECCV 2010)."""

_Array = NDArray[np.float32]


def measure_flicker(source: Sequence[Image.Image], *clips: Sequence[Image.Image]) -> tuple[float, ...]:
    """Return the flicker of clips with as many frames as ``source``, in levels of 8 bits; 0 for a single frame.

    It is the warping error of Lai et al. (arXiv 1808.00449) with absolute differences: each frame is compared with the
    frame before it, moved by the optical flow of the source, where that flow leads there and back. The mean is taken
    over channels, those pixels and pairs of frames. The flow is that of Kroeger et al. (arXiv 1603.03590).
    """
    sums, pairs = np.zeros(len(clips)), len(source) - 1
    for first, second in itertools.pairwise(range(len(source))):
        grid, visible = _motion(*(_colours(source[number]) for number in (second, first)))
        for number, clip in enumerate(clips):
            before, after = _colours(clip[first]).astype(np.float32), _colours(clip[second]).astype(np.float32)
            moved = cv2.remap(before, grid, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            difference = np.abs(after - moved).mean(2)
            sums[number] += float(difference[visible].mean()) if visible.any() else 0.0
    return tuple(round(float(one) / max(1, pairs), 4) for one in sums)


def _colours(frame: Image.Image) -> NDArray[np.uint8]:
    return StoredImage.of(frame).on_white_8_bits()


def _motion(frame: NDArray[np.uint8], before: NDArray[np.uint8]) -> tuple[_Array, NDArray[np.bool_]]:
    """Return the place (H, W, 2) in the frame before of each pixel of a frame, and where that frame shows it."""
    height, width = frame.shape[:2]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), 2).astype(np.float32)
    if min(width, height) < _SMALLEST:
        return grid, np.ones((height, width), bool)
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey, grey_before = (cv2.cvtColor(one, cv2.COLOR_RGB2GRAY) for one in (frame, before))
    there = np.asarray(flow.calc(grey, grey_before, None), np.float32)
    back = np.asarray(flow.calc(grey_before, grey, None), np.float32)
    place = grid + there
    returned = cv2.remap(back, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    share, least = _QUIET
    lengths = np.square(there).sum(2) + np.square(returned).sum(2)
    inside = (place >= 0).all(2) & (place[..., 0] <= width - 1) & (place[..., 1] <= height - 1)
    return place, inside & (np.square(there + returned).sum(2) < share * lengths + least)
