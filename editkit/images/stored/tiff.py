"""Facts about TIFF files by their tags: layouts that are not read, previews of raw photographs, further channels."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from PIL import Image, TiffImagePlugin

_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HEADER, _LARGE_HEADER = 8, 16
"""Bytes before the first directory of a TIFF, and of a BigTIFF."""

_SUBFILE_TYPE, _SUBFILES, _DNG_VERSION = 254, 330, 50706
_REDUCED = 1
"""Bit of the subfile type of an image that is a smaller version of another one."""
_CR2 = b"CR\2"
"""Mark behind the header of a raw file of Canon."""

_COLOURS = {0: "grey", 1: "grey", 2: "RGB", 3: "a palette", 5: "CMYK", 6: "YCbCr", 8: "Lab", 9: "Lab", 10: "Lab"}
_SENSOR = (32803, 34892)
"""Photometric interpretations of values of a camera's sensor (DNG 1.7)."""
_CHANNELS = {2: 3, 5: 4, 6: 3, 8: 3, 9: 3, 10: 3}
"""Number of colour channels if it is not 1, by photometric interpretation."""
_KINDS = {1: "unsigned", 2: "signed", 3: "floating-point"}
_COMPRESSIONS = {
    6: "old JPEG",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    34887: "LERC",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
"""Compressions that not every reader has, by their number."""


def unread_layout(data: bytes) -> str | None:
    """Return what a TIFF holds whose pixels are not read, for errors; None for another file or a damaged one."""
    if not data.startswith(_STARTS):
        return None
    try:
        tags = _directory(data)
        photometric = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 0)
        if photometric in _SENSOR:
            return "the values of a camera's sensor, a raw photograph"
        if TiffImagePlugin.IMAGEWIDTH not in tags:
            return None
        return unread_compression(tags) or _pixels(tags, photometric)
    except Exception:  # damaged
        return None


def unread_compression(tags: Mapping[int, Any]) -> str | None:
    """Return the compression of a TIFF if not every reader has it; None for a usual one."""
    number = tags.get(TiffImagePlugin.COMPRESSION, 1)
    if number in TiffImagePlugin.COMPRESSION_INFO and number not in _COMPRESSIONS:
        return None
    return f"the compression {_COMPRESSIONS.get(number, number)}"


def signed_pixels(image: Image.Image) -> str | None:
    """Return what an opened TIFF holds if its 8-bit levels are signed, which Pillow ignores; None otherwise."""
    tags = getattr(image, "tag_v2", None) or {}
    if max(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))) > 8 or 2 not in tags.get(TiffImagePlugin.SAMPLEFORMAT, ()):
        return None
    return _pixels(tags, tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 0))


def is_preview(image: Image.Image, data: bytes) -> bool:
    """Whether the image of a TIFF that is opened is a small version of another one in the file, as in a raw photograph.

    Raw files of most makers are TIFF files whose first image is the preview (DNG 1.7, chapter 2).
    """
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return False
    if int(tags.get(_SUBFILE_TYPE, 0)) & _REDUCED and (_SUBFILES in tags or _DNG_VERSION in tags):
        return True
    return data[_HEADER : _HEADER + len(_CR2)] == _CR2 or _widest_subfile(tags, data) > max(image.size)


def _widest_subfile(tags: Mapping[int, Any], data: bytes) -> int:
    """Return the largest width of the images in directories below the first one; 0 without any."""
    places = tags.get(_SUBFILES, ())
    try:
        directories = [_directory(data, place) for place in (places if isinstance(places, tuple) else (places,))]
        return max((int(one.get(TiffImagePlugin.IMAGEWIDTH, 0)) for one in directories), default=0)
    except Exception:  # damaged, which does not concern the first image
        return 0


def count_further_channels(image: Image.Image) -> int:
    """Return the number of channels of a TIFF that are neither colour nor marked as transparency."""
    tags = getattr(image, "tag_v2", None) or {}
    return sum(kind == 0 for kind in tags.get(TiffImagePlugin.EXTRASAMPLES, ()))


def _directory(data: bytes, place: int | None = None) -> TiffImagePlugin.ImageFileDirectory_v2:
    """Return the tags of the directory at a place in a file, of the first one by default."""
    header = data[: _LARGE_HEADER if data[2:4].strip(b"\0") == b"+" else _HEADER]
    tags, file = TiffImagePlugin.ImageFileDirectory_v2(header), io.BytesIO(data)
    file.seek(tags.next if place is None else place)
    tags.load(file)
    return tags


def _pixels(tags: Mapping[int, Any], photometric: int) -> str:
    """Return colours, channels and depth of a TIFF, such as "pixels of RGB with alpha, 32-bit floating-point"."""
    bits, formats = tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,)), tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))
    further = int(tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)) - _CHANNELS.get(photometric, 1)
    colours = _COLOURS.get(photometric, f"colours of kind {photometric}")
    with_further = "" if further <= 0 else " with alpha" if further == 1 else f" with {further} further channels"
    return f"pixels of {colours}{with_further}, {max(bits)}-bit {_KINDS.get(max(formats), 'numbers')}"
