"""Open files, arrays and image objects as stored images, and as their 8-bit sRGB views."""

from __future__ import annotations

import dataclasses as dc
import functools
import io
import math
import re
import warnings
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from ..errors import BadImage, EditkitError
from ..files.paths import scheme_of
from ..registry.arguments import check_arguments
from .addresses import download
from .sources import (
    Source,
    check_size,
    describe_source,
    file_size,
    format_size,
    memory_text,
    pixel_limit,
    plain_source,
    read_source,
    reason_text,
)
from .stored.arrays import array_to_stored
from .stored.decoding import decode
from .stored.deep import has_deep_planes, is_deep_pnm
from .stored.image import INFO_KEY, StoredImage
from .stored.kinds import begins_as, is_png_of_ios, remedy_of_frames, text_in_place, unread_kind
from .stored.tiff import is_preview, signed_pixels, unread_compression, unread_layout

_HAS_AVIF = features.check("avif")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", *(["AVIF"] if _HAS_AVIF else []))

_Decoded = TypeVar("_Decoded")

_ALLOWED = f"PNG, JPEG, WebP, {'AVIF, ' if _HAS_AVIF else ''}BMP, TIFF, GIF, PNM"
_MAX_COUNTED_BYTES = 2**17


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
        lost = carried.notes_if_changed(describe_source(source, argument))
    opened = _open(source, argument)
    return dc.replace(opened, notes=(*opened.notes, *lost))


def _open(source: Source, argument: str) -> StoredImage:
    if isinstance(source, np.ndarray):
        return array_to_stored(source, describe_source(source, argument))
    return open_checked(source, argument, functools.partial(decode, use_profile=True))


def open_checked(source: Source, argument: str, decode: Callable[[Image.Image, bytes, str], _Decoded]) -> _Decoded:
    """Check the header of an image, then return ``decode(image, data, name)``; ``data`` is empty for a PIL image."""
    name = describe_source(source, argument)
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
        if compression := unread_compression(getattr(image, "tag_v2", {})):
            raise BadImage(f"{name} cannot be read: it is a TIFF with {compression}; save it as PNG") from error
        raise BadImage(
            f"{name} cannot be read: its {kind} data are damaged or cut short ({reason_text(error)}); get a whole copy"
        ) from error


def _parse(data: bytes, name: str) -> Image.Image:
    """Read the header without decoding pixels."""
    if is_png_of_ios(data):
        raise BadImage(
            f"{name} cannot be read: it is a PNG of an iOS app (CgBI), which is not read; convert it with the pngcrush "
            "of Xcode and -revert-iphone-optimizations"
        )
    try:
        with warnings.catch_warnings():
            # MAX_PIXELS is below the size that Pillow warns about.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise BadImage(f"{name} has too many pixels: {pixel_limit()}") from None
    except UnidentifiedImageError:
        raise BadImage(f"{name} cannot be read: it {_unread_text(data)}") from None
    except Exception as error:  # see open_checked
        reason = reason_text(error)
        if layout := unread_layout(data):
            raise BadImage(f"{name} cannot be read: it is a TIFF with {layout}; save it as PNG") from error
        if "nsupported" in reason:
            raise BadImage(f"{name} cannot be read: it is of a rare kind ({reason}); save it as PNG") from error
        raise BadImage(f"{name} cannot be read: its header is damaged ({reason}); get a whole copy") from error


def _unread_text(data: bytes) -> str:
    """Return what a file is that Pillow does not recognise, and what helps."""
    if fault := text_in_place(data):
        return fault
    if layout := unread_layout(data):
        return f"is a TIFF with {layout}, which is not read; save it as PNG"
    if kind := begins_as(data):
        return (
            f"begins as a {kind} file, and is damaged or of a kind that is not read; get a whole copy or save it as PNG"
        )
    kind = unread_kind(data)
    problem = f"is a {kind} file, and not" if kind else "is not an image, or of another kind than"
    return f"{problem} {_ALLOWED}; convert it to PNG"


def _check_still(image: Image.Image, data: bytes, argument: str, name: str) -> None:
    if is_preview(image, data):
        raise BadImage(
            f"{name} begins with a preview of {format_size(image.size)} pixels, as raw photographs do: develop it with "
            "a raw converter, and save it as a 16-bit PNG or TIFF"
        )
    if signed := signed_pixels(image):
        raise BadImage(f"{name} cannot be read: it is a TIFF with {signed}, which is not read; save it as PNG")
    if _has_further_pnm(image, data):
        raise BadImage(f"{name} holds several images: only still images are allowed here; save one image as PNG")
    # Cameras store a preview or a second view behind the photo (MPO); the first image is the photo.
    if not getattr(image, "is_animated", False) or getattr(image, "format", None) == "MPO":
        return
    # Frames of these formats have to be searched, and a file of a few megabytes may hold enough for a minute.
    is_counted = image.format not in ("GIF", "TIFF") or (len(data) or file_size(image)) <= _MAX_COUNTED_BYTES
    count = getattr(image, "n_frames", 1) if is_counted else "several"
    advice = "save one page as PNG" if image.format == "TIFF" else remedy_of_frames(argument, str(image.format))
    raise BadImage(f"{name} has {count} frames or pages: only still images are allowed here; {advice}")


def _has_further_pnm(image: Image.Image, data: bytes) -> bool:
    """Whether another image begins behind the pixels of an opened binary PNM file, as Netpbm's programs allow."""
    depths = {b"P4": 1 / 8, b"P5": 1, b"P6": 3}
    tiles = getattr(image, "tile", None)
    if image.format != "PPM" or not tiles or data[:2] not in depths:
        return False
    width, height = image.size
    row = math.ceil(width * depths[data[:2]]) * (2 if is_deep_pnm(tiles[0][3]) else 1)
    return bool(re.match(rb"P[1-7]\s", data[tiles[0][2] + height * row :].lstrip()))
