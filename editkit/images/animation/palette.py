"""Reduce frames to one palette."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..stored.image import StoredImage, to_8_bits

Levels = NDArray[np.uint8]

_COLOURS = 256
_SAMPLED_PIXELS = 2**18
"""Pixels of all frames together by which the palette is chosen."""


def to_palette(frames: Sequence[Image.Image], *, transparent: bool) -> list[Image.Image]:
    """Return frames of mode RGB or RGBA in mode P with one palette for all of them, undithered.

    A palette or a dither of its own would let what stands still flicker. Frames of few enough colours are exact. With
    ``transparent``, pixels that are more transparent than not become the last colour, which is transparent; without,
    frames are laid on white.
    """
    colours = [np.asarray(frame.convert("RGB")) if transparent else _over_white(frame) for frame in frames]
    clear = [_clear_pixels(frame) if transparent else None for frame in frames]
    has_clear = any(one is not None and one.any() for one in clear)
    visible = [
        one.reshape(-1, 3) if hidden is None else one[~hidden] for one, hidden in zip(colours, clear, strict=True)
    ]
    palette = _choose_palette(visible, _COLOURS - int(has_clear))
    return [_indexed(one, hidden, palette, has_clear=has_clear) for one, hidden in zip(colours, clear, strict=True)]


def _over_white(frame: Image.Image) -> Levels:
    levels: Levels = np.rint(StoredImage.of(frame).on_white().clip(0, 1) * 255).astype(np.uint8)
    return levels


def _clear_pixels(frame: Image.Image) -> NDArray[np.bool_] | None:
    levels = to_8_bits(StoredImage.of(frame).levels)
    return levels[..., 3] < 128 if levels.shape[2] == 4 else None


def _codes(colours: Levels) -> NDArray[np.uint32]:
    """Return one number for each colour (..., 3)."""
    codes: NDArray[np.uint32] = colours.astype(np.uint32) @ np.array([65536, 256, 1], dtype=np.uint32)
    return codes


def _choose_palette(frames: Sequence[Levels], count: int) -> Levels:
    """Return at most ``count`` colours (K, 3) for colours (N, 3) of all frames; all of them if they are so few."""
    distinct = np.zeros(0, np.uint32)
    for colours in frames:
        distinct = np.union1d(distinct, _codes(colours))
        if len(distinct) > count:
            break
    else:
        return _colours_of(distinct if len(distinct) else np.zeros(1, np.uint32))
    step = max(1, sum(map(len, frames)) // _SAMPLED_PIXELS)
    sample = Image.fromarray(np.concatenate([colours[::step] for colours in frames])[None])
    table = sample.quantize(count, Image.Quantize.MEDIANCUT, kmeans=1).getpalette("RGB") or []
    return np.array(table[: 3 * count], np.uint8).reshape(-1, 3)


def _colours_of(codes: NDArray[np.uint32]) -> Levels:
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], -1).astype(np.uint8)


def _indexed(colours: Levels, clear: NDArray[np.bool_] | None, palette: Levels, *, has_clear: bool) -> Image.Image:
    """Return colours (H, W, 3) in mode P, each by the nearest of a palette."""
    from scipy.spatial import KDTree  # a quarter of a second, which edits of still images do not need

    distinct, places = np.unique(_codes(colours), return_inverse=True)
    # Pillow would find the nearest by the upper 6 bits of a colour.
    nearest = KDTree(palette.astype(np.float32)).query(_colours_of(distinct).astype(np.float32))[1]
    indices = nearest.astype(np.uint8)[places].reshape(colours.shape[:2])
    if clear is not None:
        indices[clear] = _COLOURS - 1
    image = Image.fromarray(indices)
    image.putpalette(palette.tobytes().ljust(3 * _COLOURS, b"\0"))
    if has_clear:
        image.info["transparency"] = _COLOURS - 1
    return image
