"""Open files, arrays and image objects as stored images, their 8-bit sRGB views, masks or stored values."""

from __future__ import annotations

import dataclasses as dc
import functools
import io
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, features

from ..errors import BadImage, EditkitError
from ..registry.arguments import check_arguments
from .addresses import download
from .conversion import eight_bit_values
from .sources import (
    Source,
    check_size,
    describe,
    file_size,
    format_size,
    memory_text,
    pixel_limit,
    plain_source,
    read_source,
    reason_text,
    scheme_of,
)
from .stored.colour import convert_deep_grey, convert_to_srgb, profile_note, read_profile
from .stored.deep import (
    decode_deep,
    deep_channel,
    has_deep_avif,
    has_deep_channel,
    has_deep_planes,
    is_deep_file,
    transparent_colour,
)
from .stored.image import INFO_KEY, Levels, StoredImage, to_8_bits
from .stored.kinds import has_gain_map, remedy_of_frames, text_in_place, unread_colour_space, unread_kind
from .stored.metadata import NO_METADATA, is_adobe_rgb, read_metadata

_HAS_AVIF = features.check("avif")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", *(["AVIF"] if _HAS_AVIF else []))

_Decoded = TypeVar("_Decoded")

_ALLOWED = f"PNG, JPEG, WebP, {'AVIF, ' if _HAS_AVIF else ''}BMP, TIFF, GIF, PNM"
_MAX_COUNTED_BYTES = 2**17
_NEARLY_BLACK = 16
"""Share of white, as a divisor, below which the brightest level of an image is doubtful."""
_ORIENTATION = 0x0112
_UPRIGHT: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: np.fliplr,
    3: lambda levels: np.rot90(levels, 2),
    4: np.flipud,
    5: lambda levels: np.fliplr(np.rot90(levels, 3)),
    6: lambda levels: np.rot90(levels, 3),
    7: lambda levels: np.fliplr(np.rot90(levels)),
    8: np.rot90,
}
"""Transformation of levels (H, W, ...) by the value of the EXIF orientation."""


@check_arguments()
def open_image(source: Source, *, argument: str = "image", allow_urls: bool = False) -> Image.Image:
    """Open an image as a viewer displays it: upright, in sRGB, 8 bits per channel.

    ``source`` is a path, ``"-"`` (standard input), bytes, a binary file, a PIL image, a Result, an array of shape
    (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), or a torch tensor (H, W), (C, H, W) or (1, C, H, W) of 1, 3 or 4
    channels; arrays and tensors have dtype bool, uint8, uint16 or float in [0, 1]. With ``allow_urls`` it may be an
    http or https address: the caller answers for the server. Returns a new image in mode RGBA if the source has
    transparency and RGB otherwise. What the source holds beyond that, such as 16-bit levels or a
    colour profile, goes along in ``info`` and is used by edits as long as the pixels are not changed. Raises BadImage,
    naming ``argument``, for anything but one still image within MAX_BYTES and MAX_PIXELS.
    """
    if allow_urls and isinstance(source, str) and scheme_of(source):
        source = download(source, argument=argument)
    return open_stored(source, argument=argument).view()


def open_stored(source: Source, *, argument: str = "image") -> StoredImage:
    """Open an image at its own bit depth and in its own RGB profile; ``source`` and errors are as for open_image."""
    source = plain_source(source, argument)
    lost: tuple[str, ...] = ()
    if isinstance(source, Image.Image) and isinstance(carried := source.info.get(INFO_KEY), StoredImage):
        if carried.is_shown_by(source):
            return carried
        lost = carried.notes_if_changed(describe(source, argument))
    opened = _open(source, argument)
    return dc.replace(opened, notes=(*opened.notes, *lost))


def open_values(source: Source, *, argument: str, colour: bool = False) -> NDArray[Any]:
    """Open the values of an image, (H, W): uint8 luminance of 8-bit or colour images, deeper values as stored.

    With ``colour``, an image whose channels differ gives all of them, (H, W, 3) uint8.

    ``source`` is as for open_image, and an array (H, W) or (H, W, 1) may hold whole or real numbers of any range.
    Transparency becomes 0, and an embedded colour profile is ignored. Raises BadImage like open_image.
    """
    source = plain_source(source, argument)
    if isinstance(source, np.ndarray):
        return _array_values(source, describe(source, argument), colour)
    return open_checked(source, argument, functools.partial(stored_values, colour=colour))


def _open(source: Source, argument: str) -> StoredImage:
    if isinstance(source, np.ndarray):
        return array_to_stored(source, describe(source, argument))
    return open_checked(source, argument, functools.partial(decode, use_profile=True))


def open_checked(source: Source, argument: str, decode: Callable[[Image.Image, bytes, str], _Decoded]) -> _Decoded:
    """Check the header of an image, then return ``decode(image, data, name)``; ``data`` is empty for a PIL image."""
    name = describe(source, argument)
    data = b"" if isinstance(source, Image.Image) else read_source(source, argument=argument)
    image = source if isinstance(source, Image.Image) else _parse(data, name)
    try:
        _check_still(image, data, argument, name)
        check_size(image.size, name)
        if has_deep_planes(image):
            raise BadImage(f"{name} has a plane of more than 8 bits for each channel: save it as a 16-bit PNG")
        return decode(image, data, name)
    except EditkitError:
        raise
    except MemoryError as error:
        raise BadImage(f"{name} is {format_size(image.size)} pixels, {memory_text(image.size)}") from error
    except Exception as error:  # decoders raise anything from SyntaxError to struct.error on damaged data
        if not data and "closed" in str(error):
            raise BadImage(f"{name} cannot be read: it, or its file, was closed; call its load() before") from error
        kind = getattr(image, "format", None) or "image"
        raise BadImage(
            f"{name} cannot be read: its {kind} data are damaged or cut short ({reason_text(error)}); get a whole copy"
        ) from error


def _parse(data: bytes, name: str) -> Image.Image:
    """Read the header without decoding pixels."""
    try:
        with warnings.catch_warnings():
            # MAX_PIXELS is below the size that Pillow warns about.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise BadImage(f"{name} has too many pixels: {pixel_limit()}") from None
    except UnidentifiedImageError:
        if fault := text_in_place(data):
            raise BadImage(f"{name} cannot be read: it {fault}") from None
        kind = unread_kind(data)
        problem = f"it is a {kind} file, and not" if kind else "it is not an image, or of another kind than"
        raise BadImage(f"{name} cannot be read: {problem} {_ALLOWED}; convert it to PNG") from None
    except Exception as error:  # see open_checked
        raise BadImage(
            f"{name} cannot be read: its header is damaged ({reason_text(error)}); get a whole copy"
        ) from error


def _check_still(image: Image.Image, data: bytes, argument: str, name: str) -> None:
    # Cameras store a preview or a second view behind the photo (MPO); the first image is the photo.
    if not getattr(image, "is_animated", False) or getattr(image, "format", None) == "MPO":
        return
    # Frames of these formats have to be searched, and a file of a few megabytes may hold enough for a minute.
    is_counted = image.format not in ("GIF", "TIFF") or (len(data) or file_size(image)) <= _MAX_COUNTED_BYTES
    count = getattr(image, "n_frames", 1) if is_counted else "several"
    advice = "save one page as PNG" if image.format == "TIFF" else remedy_of_frames(argument)
    raise BadImage(f"{name} has {count} frames or pages: only still images are allowed here; {advice}")


def decode(image: Image.Image, data: bytes, name: str, *, use_profile: bool) -> StoredImage:
    """Decode an opened image upright; ``data`` are the bytes of its file, empty for one in memory.

    Without ``use_profile`` its colour profile, its metadata and notes about the file are left out, as for masks. Raises
    BadImage, naming the image by ``name``, for too many pixels and for levels whose white is unknown.
    """
    transparent, holds_deep = transparent_colour(image), is_deep_file(image)
    image.load()
    check_size(image.size, name)
    orientation = _orientation(image)
    icc = image.info.get("icc_profile") if use_profile else None
    profile = read_profile(icc) if icc and image.mode != "CMYK" else None
    levels: Levels | None = None
    if holds_deep and data:
        levels = decode_deep(data, np.asarray(image), has_key=image.mode == "RGB" and "transparency" in image.info)
    notes = _file_notes(image, data, name) if use_profile else []
    if levels is None or (icc and profile is None):
        if transparent is not None and transparent != image.info.get("transparency"):
            image = image.copy()
            image.info["transparency"] = transparent
        shallow, converted = _stored_levels(image, icc if profile is None else None, name)
        levels = shallow if levels is None or converted else levels
        if image.mode == "CMYK" and not converted:
            notes.append(f"{name} has CMYK colours: the result is in RGB")
        if icc and profile is None and (note := profile_note(icc, image.mode, converted)):
            notes.append(f"{name} {note}")
    if levels.dtype == np.uint8 and (holds_deep or has_deep_channel(image) or has_deep_avif(data)):
        notes.append(f"{name} has more than 8 bits per channel, of which 8 are read: save it as a 16-bit PNG in RGB")
    notes += _dark_notes(levels, name)
    metadata = read_metadata(image) if use_profile else NO_METADATA
    upright = _upright(levels, orientation)
    turned = orientation in _UPRIGHT and upright.shape == levels.shape
    return StoredImage(upright, profile, metadata, tuple(notes), turned)


def _file_notes(image: Image.Image, data: bytes, name: str) -> list[str]:
    """Return sentences about what a file holds beside its pixels and its profile."""
    notes = []
    space = unread_colour_space(data) or ("Adobe RGB by its EXIF" if is_adobe_rgb(image) else None)
    if space and not image.info.get("icc_profile"):
        notes.append(f"{name} has a colour space that is not read ({space}): its colours are taken as sRGB")
    if has_gain_map(data):
        notes.append(f"{name} has a gain map for HDR displays, which is not kept: the result has the standard range")
    return notes


def _dark_notes(levels: Levels, name: str) -> list[str]:
    """Return a warning if an opaque image is so dark that its white is probably lower than that of its depth."""
    high, white = int(levels.max(initial=0)), int(np.iinfo(levels.dtype).max)
    if levels.shape[2] == 4 or not 0 < high < white // _NEARLY_BLACK:
        return []
    return [f"{name} is nearly black: its brightest level is {high} of {white}; scale its levels if its white is lower"]


def _stored_levels(image: Image.Image, icc: bytes | None, name: str) -> tuple[Levels, bool]:
    """Levels (H, W, 3 or 4) of a decoded image, and whether they were converted from the profile ``icc`` to sRGB."""
    colour, alpha = _split_alpha(image, name)
    if isinstance(colour, np.ndarray):
        if icc is None:
            return np.dstack([colour] * 3 if alpha is None else [colour, colour, colour, alpha]), False
        grey = convert_deep_grey(colour, icc)
        deep = colour if grey is None else grey
        return np.dstack([deep] * 3 if alpha is None else [deep, deep, deep, alpha]), grey is not None
    result, converted = convert_to_srgb(colour, icc) if icc else (colour.convert("RGB"), False)
    levels = np.asarray(result)
    return levels if alpha is None else np.dstack([levels, alpha]), converted


def _upright(levels: NDArray[Any], orientation: int) -> NDArray[Any]:
    return np.ascontiguousarray(_UPRIGHT[orientation](levels)) if orientation in _UPRIGHT else levels


def stored_values(image: Image.Image, data: bytes, name: str, *, colour: bool = False) -> NDArray[Any]:
    """Decode the values of an opened image as :func:`open_values` returns them; ``data`` is as for :func:`decode`."""
    if has_deep_channel(image):
        return _upright(deep_channel(image), _orientation(image))
    return eight_bit_values(decode(image, data, name, use_profile=False).view(), colour)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken EXIF is no reason to refuse the pixels
        return 1


def _split_alpha(image: Image.Image, name: str) -> tuple[Image.Image | NDArray[np.uint16], Levels | None]:
    """Colour in mode L, RGB or CMYK, or 16-bit grey levels (H, W), and the levels of alpha if it is not opaque."""
    if has_deep_channel(image):
        return _split_deep_alpha(image, name)
    if image.has_transparency_data:
        grey = image.mode in ("1", "L", "LA", "La")
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        return rgba.getchannel("R") if grey else rgba.convert("RGB"), np.asarray(rgba.getchannel("A"))
    if image.mode in ("1", "L"):
        return image.convert("L"), None
    return image.convert("CMYK" if image.mode == "CMYK" else "RGB"), None


def _split_deep_alpha(image: Image.Image, name: str) -> tuple[Image.Image | NDArray[np.uint16], Levels | None]:
    """Colour and alpha of an image with one channel of more than 8 bits, float ones in 8 bits."""
    values = deep_channel(image)
    if image.mode == "I":
        # Pillow opens 16-bit PNG and PNM files as 32-bit integers; in other files the value of white is unknown.
        if getattr(image, "format", None) not in ("PNG", "PPM") or values.min() < 0 or values.max() > 65535:
            raise BadImage(f"{name} has 32-bit integer pixels, whose white is unknown: save it as 16-bit PNG")
        values = values.astype(np.uint16)
    if values.dtype.kind == "f":
        return Image.fromarray(to_8_bits(_levels(values, name))), None
    levels = values.astype(np.uint16)
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return levels, None
    return levels, np.where(levels == transparent, 0, 65535).astype(np.uint16)


def array_to_stored(array: NDArray[Any], name: str) -> StoredImage:
    """Return an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of levels or floats in [0, 1] as an image.

    Raises BadImage, naming it by ``name``, for other shapes, dtypes and values.
    """
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise BadImage(f"{name} has the wrong shape: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) is allowed")
    height, width = array.shape[:2]
    check_size((width, height), name)
    levels = _levels(array, name)
    is_grey = array.ndim == 2 or array.shape[2] == 1
    stored = np.dstack([levels] * 3) if is_grey else np.ascontiguousarray(levels)
    return StoredImage(stored, notes=tuple(_dark_notes(stored, name)))


def _array_values(array: NDArray[Any], name: str, colour: bool) -> NDArray[Any]:
    flat = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if flat.ndim != 2 or flat.dtype in (np.uint8, np.bool_):
        return eight_bit_values(array_to_stored(array, name).view(), colour)
    check_size((flat.shape[1], flat.shape[0]), name)
    if flat.dtype.kind not in "uif":
        raise BadImage(f"{name} has the wrong dtype: whole or real numbers are allowed; convert it")
    return flat


def _levels(values: NDArray[Any], name: str) -> Levels:
    """Levels of bool, uint8, uint16 or float in [0, 1]: 16-bit ones of uint16, else 8-bit ones."""
    if values.dtype == np.uint8:
        return np.array(values, dtype=np.uint8)
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        return values.astype(np.uint16)
    if values.dtype.kind != "f":
        raise BadImage(f"{name} has the wrong dtype: bool, uint8, uint16 or float in [0, 1] is allowed; convert it")
    if not np.isfinite(values).all():
        raise BadImage(f"{name} has NaN or infinite pixels: floats must lie in [0, 1]; replace them")
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        raise BadImage(f"{name} has float pixels from {low:g} to {high:g}: floats must lie in [0, 1]; rescale them")
    return np.rint(values.astype(np.float64) * 255).astype(np.uint8)
