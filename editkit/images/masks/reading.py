"""Open masks of any kind as grey images of marked shares, with a sentence on how they were read."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import InvalidParameter
from ...literals import MaskFrom
from ..compression import LOSSY_FORMATS
from ..reading import open_checked
from ..sources import Source, check_size, describe_source, format_size, plain_source
from ..stored.arrays import array_to_stored
from ..stored.decoding import decode
from ..stored.deep import has_deep_channel
from ..stored.image import StoredImage, to_8_bits
from ..values import stored_values
from .colours import has_colour
from .meaning import MaskPixels, cut_levels, read_marks
from .numbers import read_channels, read_numbers

_MOST_LABELS = 64


class Mask(NamedTuple):
    """Mask as an operation takes it."""

    levels: Image.Image
    """Mode L: 255 where the image is marked, 0 where it is kept, shares between."""
    notes: tuple[str, ...] = ()
    """Warnings on how it was read."""
    turned: bool = False
    """Whether its file was turned upright."""


def open_mask(
    source: Source,
    size: tuple[int, int],
    *,
    argument: str = "mask",
    mask_from: MaskFrom = "auto",
    invert: bool = False,
    image: Image.Image | None = None,
) -> Mask:
    """Open a mask of ``size`` (width, height) in pixels: white is marked, black is kept, grey is between.

    ``source`` is as for open_image, and an array (H, W) may hold numbers of any type: booleans, 0 to 1, 0 to 255, 0 to
    65535, or labels. ``mask_from`` says what marks: ``luma`` is luminance times opacity, ``alpha`` opacity,
    ``inverse-alpha`` transparency, and ``auto`` decides by the pixels; ``image``, to which the mask belongs, serves to
    find strokes on a copy of it. ``invert`` exchanges marked and kept. An embedded profile is ignored, since a mask
    holds amounts, not colours, and the orientation of EXIF is applied. Raises BadImage like open_image, and
    InvalidParameter for a mask of another size or without the transparency that ``mask_from`` asks for.
    """
    source = plain_source(source, argument)
    name = describe_source(source, argument)
    pixels = _open_pixels(source, name, argument)
    _check_size(pixels.colours.shape[1::-1], size, name)
    if mask_from in ("alpha", "inverse-alpha") and pixels.alpha is None:
        raise InvalidParameter(
            f"mask_from={mask_from} needs a mask with transparency, and {name} is opaque: pass mask_from=luma or auto"
        )
    levels, note = read_marks(pixels, mask_from, image)
    levels = 255 - levels if invert else levels
    return Mask(Image.fromarray(levels), tuple(_notes(levels, note, name)), pixels.turned)


def mask_of_shares(shares: NDArray[np.float32], name: str, *, invert: bool = False) -> Mask:
    """Return the mask of marked shares (H, W) in [0, 1], with a warning if it marks nothing or everything."""
    levels = cut_levels(shares * 255)
    levels = 255 - levels if invert else levels
    kept = "nothing, so the image stays as it is" if not levels.any() else "the whole image, so no pixel is kept"
    notes = () if levels.any() and not levels.all() else (f"{name} marks {kept}: use other words or points",)
    return Mask(Image.fromarray(levels), notes)


def read_mask(
    source: Source,
    size: tuple[int, int] | None = None,
    *,
    argument: str = "mask",
    image: Image.Image | None = None,
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Read a mask (H, W) in [0, 1] of ``size`` (width, height) as an operation does, and warnings on how it was read.

    ``source`` and errors are as for open_image, and arrays may hold numbers of any type. Without ``size`` any size is
    allowed; raises InvalidParameter for another one. ``image``, opened by open_image, is the one that the mask belongs
    to: strokes on a copy of it are found, and a mask that may lie otherwise than it is named.
    """
    source = plain_source(source, argument)
    name = describe_source(source, argument)
    pixels = _open_pixels(source, name, argument)
    if size is not None:
        _check_size(pixels.colours.shape[1::-1], size, name)
    own = None if image is None or image.size != pixels.colours.shape[1::-1] else image
    levels, note = read_marks(pixels, "auto", own)
    notes = _notes(levels, note, name)
    if own is not None and (turned := turned_note(own, pixels.turned, argument)):
        notes.append(turned)
    return levels.astype(np.float32) / np.float32(255), tuple(notes)


def turned_note(image: Image.Image, mask_turned: bool, argument: str) -> str | None:
    """Return a warning if the file of an image stores it turned at the same size, and that of its mask does not."""
    if not StoredImage.of(image).turned or mask_turned:
        return None
    return (
        f"the file of the image stores it turned or mirrored (EXIF orientation), and {argument} is laid on it as it is "
        "displayed: a mask that was drawn on the stored pixels belongs elsewhere"
    )


def _check_size(actual: tuple[int, ...], size: tuple[int, int], name: str) -> None:
    if tuple(actual) != size:
        advice = "turn it, since an image is edited as it is displayed" if actual[::-1] == size else "resize it"
        raise InvalidParameter(
            f"{name} is {format_size((actual[0], actual[1]))} pixels but must be {format_size(size)} like the image it "
            f"belongs to: {advice}"
        )


def _notes(levels: NDArray[np.uint8], note: str | None, name: str) -> list[str]:
    """Return warnings: how a mask was read if that was not obvious, with its share, and if it is empty or full."""
    share = (levels > 0).mean()
    notes = [] if note is None else [f"{name} {note}; {_percent(float(share))} of the image is marked"]
    if share == 0:
        notes.append(f"{name} marks nothing, so the image stays as it is: white marks what changes")
    elif share == 1:
        notes.append(f"{name} marks the whole image, so no pixel is kept: black marks what stays")
    return notes


def _percent(share: float) -> str:
    return f"{share:.0%}" if share == 0 or share >= 0.01 else f"{share:.2%}"


def _open_pixels(source: Source, name: str, argument: str) -> MaskPixels:
    if not isinstance(source, np.ndarray):
        return open_checked(source, argument, _decode_pixels)
    flat = source[..., 0] if source.ndim == 3 and source.shape[2] == 1 else source
    if flat.ndim != 2:
        levels = read_channels(source) if source.ndim == 3 else source
        if levels.ndim == 3 and levels.dtype == np.uint8 and levels.max(initial=0) == 1 and levels.shape[2] == 4:
            levels = levels * np.uint8(255)
        return _stored_pixels(array_to_stored(levels, name), lossy=False)
    check_size((flat.shape[1], flat.shape[0]), name)
    return _number_pixels(flat, name)


def _decode_pixels(image: Image.Image, data: bytes, name: str) -> MaskPixels:
    if has_deep_channel(image) and "transparency" not in image.info:
        return _number_pixels(stored_values(image, data, name), name)
    lossy = getattr(image, "format", None) in LOSSY_FORMATS
    pixels = _stored_pixels(decode(image, data, name, use_profile=False), lossy=lossy)
    if image.mode == "P" and pixels.alpha is None:
        return _label_pixels(image, pixels, name)
    return pixels


def _number_pixels(values: NDArray[Any], name: str) -> MaskPixels:
    levels, labels, note = read_numbers(values, name)
    return MaskPixels(np.dstack([levels] * 3), labels=labels, note=note)


def _stored_pixels(stored: StoredImage, *, lossy: bool) -> MaskPixels:
    levels = to_8_bits(stored.levels)
    alpha = levels[..., 3] if levels.shape[2] == 4 else None
    return MaskPixels(np.ascontiguousarray(levels[..., :3]), alpha, lossy=lossy, turned=stored.turned)


def _label_pixels(image: Image.Image, pixels: MaskPixels, name: str) -> MaskPixels:
    """Return pixels with the indices of a palette as labels, if the palette has colours and begins with black."""
    indices = np.asarray(image)
    palette = image.getpalette("RGB") or []
    used = np.unique(indices)
    if len(used) > 1 and not pixels.colours.any():  # without a palette
        return _number_pixels(indices, name)
    if palette[:3] != [0, 0, 0] or len(used) > _MOST_LABELS or not has_colour(pixels.colours):
        return pixels
    # The pixels may have been turned upright, and the colour of a label is its own in such palettes.
    labels = pixels.colours.max(-1) > 0
    return MaskPixels(pixels.colours, labels=labels, note=_palette_note(len(used)))


def _palette_note(used: int) -> str:
    return f"has a palette of colours, {used} of them used: every colour but black (number 0) is read as marked"
