"""16-bit pixels of files, which Pillow reduces to 8 bits and cannot write in colour."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo

from .png_chunks import png_chunk

DEEP_FORMATS = ("PNG", "TIFF", "PPM")

# Signature and header of a PNG, and its last chunk, have fixed lengths.
_AFTER_HEADER = 33
_END_LENGTH = 12
_TIFF_HEADER = 8
_AVIF_HEADER = 65536

_SILENT = 0
"""Log level of OpenCV without messages."""


def is_deep_file(image: Image.Image) -> bool:
    """Whether an opened file that is not decoded yet has more than 8 bits per channel, of which Pillow keeps 8."""
    if getattr(image, "format", None) not in DEEP_FORMATS or image.mode not in ("RGB", "RGBA", "RGBX", "LA", "CMYK"):
        return False
    tiles = getattr(image, "tile", None) or []
    arguments = tiles[0][3] if tiles else ""
    if isinstance(arguments, str):
        return ";16" in arguments
    if image.format == "PPM":
        return is_deep_pnm(arguments)
    return bool(arguments) and ";16" in str(arguments[0])


def is_deep_pnm(arguments: str | tuple[object, ...]) -> bool:
    """Whether the levels of an opened PNM file have two bytes each, by the arguments of its decoder in Pillow."""
    if isinstance(arguments, str):
        return ";16" in arguments
    return isinstance(arguments[-1], int) and arguments[-1] > 255


def has_deep_channel(image: Image.Image) -> bool:
    """Whether an image has one channel of more than 8 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def transparent_colour(image: Image.Image) -> object:
    """Transparent colour in the units of the decoded pixels; call before decoding, which discards the bit depth."""
    transparent = image.info.get("transparency")
    tile = getattr(image, "tile", None)
    depth = tile[0][3] if tile else None
    if isinstance(transparent, int) and depth == "1":
        return 255 if transparent else 0  # older Pillow versions give the bit itself
    if isinstance(transparent, int) and depth in ("L;2", "L;4"):
        return transparent * (85 if depth == "L;2" else 17)
    if isinstance(transparent, tuple) and depth == "RGB;16B":
        return tuple(level >> 8 for level in transparent)
    return transparent


def deep_channel(image: Image.Image) -> NDArray[Any]:
    """Return the pixels (H, W) of an image with one channel of more than 8 bits.

    Those of a TIFF with 12 bits are scaled to 16, and those whose 0 is white are inverted (TIFF 6.0, section 4), which
    Pillow leaves to the caller.
    """
    values, tags = np.asarray(image), getattr(image, "tag_v2", None)
    if tags is None or values.dtype.kind != "u":
        return values
    levels = values.astype(np.uint16)
    if tags.get(TiffImagePlugin.BITSPERSAMPLE) == (12,):
        levels = np.asarray((levels << 4) | (levels >> 8), dtype=np.uint16)
    return 65535 - levels if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0 else levels


def has_deep_planes(image: Image.Image) -> bool:
    """Whether an image is a TIFF of deep planes for each channel without compression, which Pillow reads wrongly."""
    tags = getattr(image, "tag_v2", None) or {}
    bits, is_raw = tags.get(TiffImagePlugin.BITSPERSAMPLE, (8,)), tags.get(TiffImagePlugin.COMPRESSION, 1) == 1
    return is_raw and tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == 2 and len(bits) > 1 and max(bits) > 8


def has_deep_avif(data: bytes) -> bool:
    """Whether an AVIF file holds 10 or 12 bits per channel, by its first codec configuration (AV1-ISOBMFF, 2.3)."""
    start = data.find(b"av1C", 0, _AVIF_HEADER) if data[4:8] == b"ftyp" else -1
    return start >= 0 and len(data) > start + 6 and bool(data[start + 6] & 0x40)


def decode_deep(data: bytes, shallow: NDArray[np.uint8], *, has_key: bool = False) -> NDArray[np.uint16] | None:
    """Decode 16-bit levels (H, W, 3 or 4) as RGB and straight alpha, in the orientation of the file.

    ``shallow`` (H, W, 3 or 4) are the 8-bit levels of the same file by Pillow, which lack alpha if one colour is the
    key of transparency (``has_key``). Returns None unless the levels agree with them, as for a layout that one of the
    libraries reads differently.
    """
    import cv2

    log = getattr(cv2.utils, "logging", cv2)  # OpenCV 4 has the two functions in cv2
    previous = log.getLogLevel()
    log.setLogLevel(_SILENT)
    try:
        levels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    finally:
        log.setLogLevel(previous)
    if levels is None or levels.dtype != np.uint16 or levels.ndim != 3 or levels.shape[2] not in (3, 4):
        return None
    levels = levels[..., [2, 1, 0, 3][: levels.shape[2]]]
    channels = 3 if has_key else levels.shape[2]
    if shallow.shape != (*levels.shape[:2], channels):
        return None
    if np.abs((levels[..., :channels] >> 8).astype(np.int16) - shallow).max() > 1:
        return None
    return np.ascontiguousarray(levels, dtype=np.uint16)


def encode_deep_png(levels: NDArray[np.uint16]) -> bytes:
    """Encode 16-bit levels (H, W, 3 or 4) as PNG without metadata."""
    import cv2

    # OpenCV is tuned for speed by default; these are the settings of other programs.
    settings = [cv2.IMWRITE_PNG_COMPRESSION, 6, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT]
    settings += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_ALL_FILTERS]
    done, encoded = cv2.imencode(".png", levels[..., [2, 1, 0, 3][: levels.shape[2]]], settings)
    if not done:
        raise OSError("the encoder failed")
    data: bytes = encoded.tobytes()
    return data


def insert_png_chunks(data: bytes, icc: bytes | None, info: PngInfo) -> bytes:
    """Return a PNG with a colour profile and the chunks of ``info`` at their places."""
    profile = b"" if icc is None else png_chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc))
    before, after = (
        b"".join(png_chunk(kind, content) for kind, content, after_pixels in info.chunks if after_pixels is late)
        for late in (False, True)
    )
    return data[:_AFTER_HEADER] + profile + before + data[_AFTER_HEADER:-_END_LENGTH] + after + data[-_END_LENGTH:]


def encode_tiff(levels: NDArray[Any], tags: Mapping[int, Any]) -> bytes:
    """Encode levels (H, W, 3 or 4), uint8 or uint16, as TIFF of one compressed strip, with further tags (TIFF 6.0)."""
    height, width, channels = levels.shape
    strip = zlib.compress(levels.astype(levels.dtype.newbyteorder("<")).tobytes())
    directory = TiffImagePlugin.ImageFileDirectory_v2(b"II*\0\0\0\0\0")
    directory.update(tags)
    directory.update(
        {
            TiffImagePlugin.IMAGEWIDTH: width,
            TiffImagePlugin.IMAGELENGTH: height,
            TiffImagePlugin.BITSPERSAMPLE: (8 * levels.itemsize,) * channels,
            TiffImagePlugin.COMPRESSION: 8,  # deflate
            TiffImagePlugin.PHOTOMETRIC_INTERPRETATION: 2,  # RGB
            TiffImagePlugin.STRIPOFFSETS: 0,  # tobytes adds where the directory ends
            TiffImagePlugin.SAMPLESPERPIXEL: channels,
            TiffImagePlugin.ROWSPERSTRIP: height,
            TiffImagePlugin.STRIPBYTECOUNTS: len(strip),
            TiffImagePlugin.PLANAR_CONFIGURATION: 1,
        }
    )
    if channels == 4:
        directory[TiffImagePlugin.EXTRASAMPLES] = 2  # straight alpha
    return b"II*\0" + struct.pack("<I", _TIFF_HEADER) + directory.tobytes(_TIFF_HEADER) + strip
