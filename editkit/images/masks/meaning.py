"""Marked shares of a mask's pixels, by luminance, opacity, labels or two colours."""

from __future__ import annotations

import dataclasses as dc
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...literals import MaskFrom
from ..compression import is_noisy
from .colours import has_colour, labels_of_colours, split_two_colours
from .numbers import SOFTEST_DIM, label_note
from .painted_copy import painted_part

Levels = NDArray[np.uint8]

_FLOOR, _CEILING = 8, 247
"""Levels up to which a pixel counts as unmarked, and from which as fully marked."""
_NOISY_FLOOR, _NOISY_CEILING = 64, 191
"""The same for masks of two levels with noise around them."""
_LOSSY_CUT = 128
"""Level from which a pixel of such a mask counts as fully marked if its file is one of lossy compression."""
_BLOCK = 64
"""Pixels of a block of JPEG."""
_NEARLY_WHITE = 192
"""Brightest level from which a mask counts as one that was meant to have white."""
_OPAQUE = 128
_WHITE, _BLACK = 208, 48
_PURE_WHITE = 240


@dc.dataclass(frozen=True)
class MaskPixels:
    """Pixels of a mask as stored, upright."""

    colours: Levels
    """(H, W, 3)."""
    alpha: Levels | None = None
    """(H, W); None without transparency."""
    labels: NDArray[Any] | None = None
    """(H, W), numbers of classes in place of levels; 0 is the ground."""
    note: str | None = None
    """How numbers or a palette were read."""
    lossy: bool = False
    turned: bool = False
    """Whether the file was turned upright."""

    @property
    def luminance(self) -> Levels:
        """(H, W)."""
        return np.asarray(Image.fromarray(self.colours).convert("L"))

    @property
    def product(self) -> Levels:
        """Luminance times alpha, (H, W)."""
        if self.alpha is None:
            return self.luminance
        return np.rint(self.luminance.astype(np.float32) * self.alpha / 255).astype(np.uint8)


class Reading(NamedTuple):
    """Marked share of each pixel in 255 levels, (H, W), and how it was read if that was not obvious."""

    levels: NDArray[Any]
    note: str | None = None


def read_marks(pixels: MaskPixels, mask_from: MaskFrom, image: Image.Image | None) -> Reading:
    """Return the marked share of every pixel; ``image`` is the one that the mask belongs to."""
    if mask_from == "luma":
        reading = Reading(pixels.product)
    elif mask_from != "auto":
        assert pixels.alpha is not None
        reading = Reading(pixels.alpha if mask_from == "alpha" else 255 - pixels.alpha)
    else:
        reading = _read_auto(pixels, image)
    levels = cut_levels(reading.levels, lossy=pixels.lossy)
    notes = [note for note in (reading.note or pixels.note, _dim_note(levels)) if note]
    return Reading(levels, ", and ".join(notes) or None)


def _read_auto(pixels: MaskPixels, image: Image.Image | None) -> Reading:
    alpha = pixels.alpha if pixels.alpha is not None and pixels.alpha.min() < _CEILING else None
    painted = None if image is None else painted_part(pixels.colours, alpha, image, lossy=pixels.lossy)
    if painted is not None:
        return Reading(painted, "is a copy of the image, whose painted part is read as marked")
    if pixels.labels is not None:
        return Reading(255 * (pixels.labels != 0), pixels.note)
    if alpha is not None:
        return _read_layer(pixels, alpha)
    return _read_colours(pixels) if has_colour(pixels.colours) else _read_grey(pixels)


def _dim_note(levels: Levels) -> str | None:
    """Return a warning if the brightest level of a mask is nearly black or nearly white; a grey one is meant."""
    high = int(levels.max())
    if SOFTEST_DIM <= high < _NEARLY_WHITE or high in (0, 255):
        return None
    kind = "is dark" if high < SOFTEST_DIM else "is not quite white"
    return f"{kind}: its brightest level of {high} allows {high / 255:.0%} of the change"


def _read_layer(pixels: MaskPixels, alpha: Levels) -> Reading:
    """Read a layer with transparency: strokes on a clear ground, or an opaque layer with a hole."""
    drawn = alpha >= (_OPAQUE if (alpha >= _OPAQUE).any() else _FLOOR)
    luminance = pixels.luminance[drawn]
    if alpha.min() == alpha.max() or not len(luminance):
        share = f"{alpha.max() / 255:.0%}"
        return Reading(pixels.product, f"has an opacity of {share} everywhere, by which its luminance is multiplied")
    grey = not has_colour(pixels.colours[drawn])
    dark, bright = (luminance < _BLACK).mean(), (luminance >= _WHITE).mean()
    if grey and min(dark, bright) >= 0.01 and dark + bright >= 0.9:
        return Reading(pixels.product, "has black, white and transparent parts, of which white is read as marked")
    border = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
    if (border >= _OPAQUE).mean() > 0.75:
        return Reading(255 - alpha, "is read as an opaque layer with holes, which are marked (mask_from=inverse-alpha)")
    if grey and (luminance >= _PURE_WHITE).mean() >= 0.95:
        return Reading(pixels.product)
    if grey and int(luminance.max()) - int(luminance.min()) > 64:
        return Reading(pixels.product, "has grey levels and transparency, and is read by luminance (mask_from=luma)")
    return Reading(alpha, "is read as strokes on a transparent layer, marked whatever their colour (mask_from=alpha)")


def _read_colours(pixels: MaskPixels) -> Reading:
    """Read an opaque mask with colours."""
    colours = pixels.colours
    if (two := split_two_colours(colours, lossy=pixels.lossy)) is not None:
        note = f"has two colours: {two.marked} is read as marked, {two.ground} as kept"
        return Reading(two.shares * 255, note)
    if (labels := labels_of_colours(colours)) is not None:
        return Reading(255 * labels, "has areas of several colours: every colour but black is read as marked")
    return Reading(pixels.product, "has colours, and is read by luminance (mask_from=luma)")


def _read_grey(pixels: MaskPixels) -> Reading:
    levels = pixels.luminance
    low, high = int(levels.min()), int(levels.max())
    # All of 1 may be #010101 as well, which is a black that was saved inexactly.
    if low < high and not pixels.lossy and (note := label_note(levels)) is not None:
        return Reading(255 * (levels > 0), note)
    if low <= _FLOOR or low == high:
        return Reading(levels)
    ground, marked = _peak(levels, 0, _OPAQUE), _peak(levels, _OPAQUE, 256)
    at_ground, at_marked = (np.abs(levels - float(peak)) <= 8 for peak in (ground, marked))
    two_levels = at_ground.any() and at_marked.any() and (at_ground | at_marked).mean() >= 0.97
    if ground < SOFTEST_DIM and marked >= 255 - SOFTEST_DIM and two_levels:
        shares = (levels - float(ground)) / (marked - ground)
        return Reading(shares.clip(0, 1) * 255, f"has the levels {ground} and {marked}, read as black and white")
    return Reading(levels)


def _peak(levels: Levels, begin: int, end: int) -> int:
    """Return the most frequent level from ``begin`` up to ``end``."""
    return begin + int(np.bincount(levels.ravel(), minlength=256)[begin:end].argmax())


def cut_levels(levels: NDArray[Any], *, lossy: bool = False) -> Levels:
    """Round levels (H, W) of 255, and set those near black to 0 and those near white to 255."""
    rounded: Levels = np.rint(levels).astype(np.uint8)
    noisy = is_noisy(rounded, 2 if lossy else 4)
    floor, ceiling = (_NOISY_FLOOR, _NOISY_CEILING) if noisy else (_FLOOR, _CEILING)
    if noisy and lossy:
        floor, ceiling = _LOSSY_CUT - 1, _LOSSY_CUT
    is_compressed = lossy or _is_compressed(rounded)
    rounded[rounded <= floor] = 0
    rounded[rounded >= ceiling] = 255
    if is_compressed and rounded.max() >= _NOISY_CEILING:
        rounded[_specks(rounded)] = 0
    return rounded


def _is_compressed(levels: Levels) -> bool:
    """Whether a mask has so many levels near black that it was saved with losses before; soft edges have few."""
    counts = np.bincount(levels.ravel(), minlength=256)
    return int(counts[1 : _FLOOR + 1].sum()) > 0.5 * int(counts[_FLOOR + 1 : _CEILING].sum())


def _specks(levels: Levels) -> NDArray[np.bool_]:
    """Return the pixels (H, W) of small dark parts that touch no bright one: errors of compression beside edges."""
    import cv2

    count, parts, figures, _ = cv2.connectedComponentsWithStats((levels > 0).astype(np.uint8), connectivity=8)
    brightest = np.zeros(count, dtype=np.uint8)
    np.maximum.at(brightest, parts.ravel(), levels.ravel())
    is_speck = (brightest < SOFTEST_DIM) & (figures[:, cv2.CC_STAT_AREA] <= _BLOCK)
    is_speck[0] = False  # the ground
    return np.asarray(is_speck[parts], dtype=bool)
