"""Masks that are copies of their image, on which a part was painted over or erased."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..stored.image import StoredImage, to_8_bits
from .colours import has_colour

Pixels = NDArray[np.uint8]
"""(H, W, 3): colours on white; or (H, W, 4), with alpha beside them."""

_SAME, _PAINTED, _PAINTED_EXACTLY = 12, 32, 3
"""Difference to the image up to which a pixel counts as the image's, from which as painted, and from which it counts
so on a copy whose other pixels are exactly the image's."""
_FLOOR, _CEILING = 8, 247
"""Levels between which a grey pixel is neither black nor white."""
_GREY_SHARE = 0.1
"""Pixels of other levels, relative to all, below which a mask counts as black and white."""
_EXACT_SHARE = 0.75
"""Exact ones of the steps between neighbours that a copy repeats from which every other pixel counts as painted."""
_LEAST_PAIRS = 0.005
"""Steps between neighbours that a copy repeats exactly, relative to its pixels."""
_NEARLY_SAME, _LEAST_EDGES = 24, 0.3
"""Difference to the image up to which an edge was saved with losses, and share of the image's edges that a copy repeats
so."""
_LEAST_BRIGHTNESSES, _BRIGHTNESS_SHARE = 4, 0.02
"""Different brightnesses, of 16, that a copy of inexact colours repeats, each of this share of the pixels at least."""
_LEAST_SAME = 0.2
"""Pixels that such a copy has in common with its image, relative to all."""
_SAMPLE = 1_000_000
"""Pixels by which a large image is judged."""
_BRUSH = 8
"""Difference to the most frequent painted colour up to which a pixel may be painted."""


def painted_part(colours: Pixels, alpha: Pixels | None, image: Image.Image, *, lossy: bool) -> NDArray[np.int64] | None:
    """Return 255 where a mask, a copy of its ``image``, was painted over or erased and 0 elsewhere, (H, W).

    ``colours`` are (H, W, 3) as stored, and ``alpha`` is (H, W). Returns None for a mask that is no copy: a copy has
    the image's own colours beside each other in many places, in the sRGB of its view or in its own profile.
    """
    mask = colours if alpha is None else _over(colours, alpha, 255)
    if not _may_be_copy(_sample(mask)):
        return None
    copies = []
    for original in _originals(image, with_alpha=alpha is not None):
        least = _least_painted(_sample(mask), _sample(original))
        if least is not None and not (alpha is not None and _is_cut_out(mask, original)):
            difference = _difference(mask, original)
            copies.append((least, int((difference >= least).sum()), difference))
    if not copies:
        return None
    least, _, difference = min(copies, key=lambda copy: copy[:2])
    painted = _painted(mask, difference, least, lossy=lossy)
    if not painted.any() and (alpha is not None or not has_colour(colours)):
        return None  # an image may be its own mask, by its luminance if it is grey, or by its holes
    return 255 * painted.astype(np.int64)


def _sample(pixels: Pixels) -> Pixels:
    """Evenly spaced rows of an image, all of a small one."""
    return pixels[:: max(1, pixels.shape[0] * pixels.shape[1] // _SAMPLE)]


def _difference(mask: Pixels, original: Pixels) -> NDArray[np.uint8]:
    """Largest difference of the channels, (H, W)."""
    return np.asarray((np.maximum(mask, original) - np.minimum(mask, original)).max(-1), dtype=np.uint8)


def _may_be_copy(mask: Pixels) -> bool:
    """Whether a mask has more than black and white; mostly black ones of these may be parts of such an image."""
    own = float(_is_own(mask).mean())
    return own >= _LEAST_PAIRS / 2 and (own >= _GREY_SHARE or mask.mean() >= 128 or has_colour(mask[..., :3]))


def _over(colours: Pixels, alpha: Pixels, ground: int) -> Pixels:
    """Lay colours (H, W, 3) over a grey ground; returns them with their alpha, (H, W, 4)."""
    share = alpha[..., None].astype(np.float32) / 255
    return np.dstack([np.rint(colours * share + ground * (1 - share)).astype(np.uint8), alpha])


def _originals(image: Image.Image, *, with_alpha: bool) -> Iterator[Pixels]:
    """Yield an image as a copy of it may hold it: in sRGB and in its own profile, and without alpha on any ground."""
    stored = StoredImage.of(image)
    if with_alpha and stored.alpha is None:
        return
    has_profile = stored.profile is not None and stored.profile.curves is not None
    for levels in (np.asarray(image), *([to_8_bits(stored.levels)] if has_profile else [])):
        if levels.shape[2] == 3:
            yield levels
            continue
        on_white = _over(levels[..., :3], levels[..., 3], 255)
        if with_alpha:
            yield on_white
        else:
            yield from (on_white[..., :3], _over(levels[..., :3], levels[..., 3], 0)[..., :3], levels[..., :3])


def _is_cut_out(mask: Pixels, original: Pixels) -> bool:
    """Whether most of what an image shows is clear in a mask, which then holds a part that was cut out of it."""
    shown = original[..., 3] >= 128
    return bool((mask[..., 3][shown] < 128).mean() > 0.5) if shown.any() else True


def _least_painted(mask: Pixels, original: Pixels) -> int | None:
    """Return the difference from which a pixel of a copy counts as painted; None for a mask that is no copy.

    A copy has the colours of its image where they change from pixel to pixel.
    """
    difference, own = _difference(mask, original), _is_own(mask)
    least = _LEAST_PAIRS * difference.size
    steps = _Steps(original, 0)
    exact = steps.count(difference == 0, own)
    if exact >= max(8, least):
        return _PAINTED_EXACTLY if exact > _EXACT_SHARE * steps.count(difference <= _SAME, own) else _PAINTED
    edges = _Steps(original, _PAINTED)
    if edges.count(difference <= _NEARLY_SAME, own) >= max(8, least, _LEAST_EDGES * edges.total):
        return _PAINTED
    return _PAINTED if _repeats_brightnesses(mask, own & (difference <= _SAME)) else None


def _repeats_brightnesses(mask: Pixels, same: NDArray[np.bool_]) -> bool:
    """Whether the pixels that a mask has in common with its image are many, and of many brightnesses."""
    brightness = np.asarray(Image.fromarray(mask[..., :3]).convert("L")) >> 4
    shares = np.bincount(brightness[same], minlength=16) / same.size
    return bool((shares >= _BRIGHTNESS_SHARE).sum() >= _LEAST_BRIGHTNESSES and shares.sum() >= _LEAST_SAME)


class _Steps:
    """Pairs of neighbours in an image whose colours differ by more than ``least``."""

    def __init__(self, image: Pixels, least: int) -> None:
        levels = image.astype(np.int16)
        self._pairs = [
            (here, beside, np.abs(levels[here] - levels[beside]).max(-1) > least)
            for here, beside in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1]))
        ]
        self.total = sum(int(steps.sum()) for _, _, steps in self._pairs)

    def count(self, chosen: NDArray[np.bool_], one_of: NDArray[np.bool_]) -> int:
        """Return the number of pairs of which both pixels are ``chosen``, and one is ``one_of`` too, (H, W)."""
        return sum(
            int((steps & chosen[here] & chosen[beside] & (one_of[here] | one_of[beside])).sum())
            for here, beside, steps in self._pairs
        )


def _is_own(mask: Pixels) -> NDArray[np.bool_]:
    """Whether a pixel is neither black nor white, which any mask may be."""
    return np.asarray((mask.min(-1) < _CEILING) & (mask[..., :3].max(-1) > _FLOOR), dtype=bool)


def _painted(mask: Pixels, difference: NDArray[Any], least: int, *, lossy: bool) -> NDArray[np.bool_]:
    """Return where a copy differs by ``least`` from its image, and pixels in there that had the brush's colour."""
    import cv2

    size = difference.astype(np.float32)
    if lossy:
        size = np.asarray(cv2.medianBlur(size, 5), dtype=np.float32)
    painted = size >= least
    brush = np.median(mask[painted], axis=0) if painted.any() else mask[0, 0]
    tolerance = _PAINTED if lossy else _BRUSH
    other = np.abs(mask.astype(np.int16) - brush.astype(np.int16)).max(-1) > tolerance
    count, parts = cv2.connectedComponents((~painted).astype(np.uint8), connectivity=4)
    has_other = np.zeros(count, dtype=bool)
    has_other[np.unique(parts[other])] = True
    return np.asarray(painted | ((parts > 0) & ~has_other[parts]), dtype=bool)
