"""Facts about image files by their first bytes: unread kinds, for errors; colour spaces, gain maps and videos."""

from __future__ import annotations

import re
import struct

from ...files.reading import LFS_POINTER

_HEADER = 65536
"""Bytes at the beginning of a file that are searched."""

_BRANDS = {
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"heim": "HEIC",
    b"heis": "HEIC",
    b"hevc": "HEIC",
    b"hevx": "HEIC",
    b"mif1": "HEIF",
    b"msf1": "HEIF",
    b"avif": "AVIF",
    b"avis": "AVIF",
    b"crx ": "CR3 raw",
    b"isom": "MP4 video",
    b"mp42": "MP4 video",
    b"qt  ": "QuickTime video",
}
"""Kind by the brand of an ISO base media file (ISO/IEC 14496-12 and 23008-12)."""

_SIGNATURES = {
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"8BPS": "Photoshop",
    b"%PDF": "PDF",
    b"<svg": "SVG",
    b"<?xml": "XML or SVG",
    b"v/1\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"gimp xcf": "GIMP",
    b"\0\0\1\0": "ICO",
    b"DDS ": "DDS",
    b"qoif": "QOI",
    b"PK\3\4": "ZIP",
    b"P7\n": "PAM",
    b"PF\n": "colour PFM",
    b"P7 332": "XV thumbnail",
    b"%!PS": "PostScript",
    b"\x0a\x05\x01": "PCX",
    b"\x01\xda": "SGI",
    b"\x59\xa6\x6a\x95": "Sun raster",
    b"#define": "XBM",
    b"/* XPM": "XPM",
    b"SDPX": "DPX",
    b"XPDS": "DPX",
    b"\x8aMNG": "MNG",
    b"\x8bJNG": "JNG",
    b"SIMPLE  =": "FITS",
    b"AT&TFORM": "DjVu",
    b"\x1a\x45\xdf\xa3": "WebM or Matroska video",
    b"II\xbc": "JPEG XR",
    b"FUJIFILMCCD-RAW": "Fujifilm raw",
    b"IIU\0": "Panasonic raw",
    b"IIRO": "Olympus raw",
    b"IIRS": "Olympus raw",
    b"CSFCHUNK": "Clip Studio Paint",
    b"PDN3": "Paint.NET",
    b"\0\xffKA": "Affinity",
    b"\x1f\x8b": "gzip",
}

_READ = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}
"""Formats that are read, by how their files begin; some of their variants are not."""
_ZIPS = {b"mimetypeimage/openraster": "OpenRaster", b"mimetypeapplication/x-krita": "Krita"}
"""Kinds of ZIP files by the name and the content of their first entry."""

_TEXTS = {
    LFS_POINTER: "is a pointer of git-lfs, and the image is elsewhere: run 'git lfs pull' in its folder",
    b"<!doctype html": "is a web page, as servers send in place of an image: download it again, signed in if need be",
    b"<html": "is a web page, as servers send in place of an image: download it again, signed in if need be",
}
"""Fault and remedy of files that hold text in place of an image, by their first letters in lower case."""


_SRGB_PRIMARIES = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
_GAIN_MAPS = (b"hdr-gain-map/1.0/", b"urn:iso:std:iso:ts:21496:-1", b"aux:hdrgainmap")
"""Names of gain maps in JPEG files, of Adobe, ISO and Apple."""
_SEGMENTS = 2**18
"""Bytes of a JPEG file that hold its metadata, with room for previews and profiles."""
_MOTION = re.compile(rb"(MotionPhoto|MicroVideo)(=\"|='|>)1")
"""A photograph with a short video behind it, by its XMP; those of Samsung have a trailer."""
_PANORAMA = re.compile(rb"GPano:ProjectionType(=\"|='|>)")

_SRGB_CODES = {(1, 13), (1, 1), (2, 2), (1, 2), (2, 13), (1, 6), (6, 6), (5, 6), (6, 13), (5, 13), (2, 6), (2, 1)}
"""Codes of primaries and transfer that viewers show as sRGB, or that are unspecified (ITU-T H.273)."""


def unread_colour_space(data: bytes) -> str | None:
    """Return the colour space of a PNG or AVIF without profile if it is another one than sRGB, else None.

    It is in the chunks cICP, gAMA and cHRM (PNG, third edition, section 11.3.2) and the box colr (ISO/IEC 14496-12,
    12.1.5).
    """
    header = data[:_HEADER]
    if data.startswith(b"\x89PNG"):
        start = header.find(b"\0\0\0\4cICP")
        if start < 0:
            return _gamma_and_primaries(header.partition(b"IDAT")[0])
        codes = tuple(header[start + 8 : start + 10])
        if header[start + 11 : start + 12] == b"\0":
            return "levels of the narrow range"
    elif data[4:8] == b"ftyp":
        start = header.find(b"colrnclx")
        codes = tuple(header[start + 9 : start + 13 : 2]) if start >= 0 else ()
    else:
        return None
    if len(codes) < 2 or codes in _SRGB_CODES:
        return None
    names = {1: "BT.709", 9: "BT.2020", 12: "Display P3"}, {8: "linear", 16: "PQ", 18: "HLG"}
    primaries, transfer = (table.get(code, f"code {code}") for table, code in zip(names, codes, strict=True))
    return f"primaries {primaries}" if codes[1] in (1, 2, 6, 13) else f"primaries {primaries}, transfer {transfer}"


def _gamma_and_primaries(chunks: bytes) -> str | None:
    """Return the gamma and the primaries in the chunks of a PNG that viewers do not show as sRGB; None without."""
    found = []
    if b"\0\0\0\1sRGB" in chunks:
        return None
    start = chunks.find(b"\0\0\0\4gAMA")
    gamma = int.from_bytes(chunks[start + 8 : start + 12]) / 1e5 if start >= 0 else 0
    if gamma and not 0.4 < gamma < 0.5:
        found.append(f"gamma {1 / gamma:.2g}")
    start = chunks.find(b"\0\0\0\x20cHRM")
    numbers = [int.from_bytes(chunks[i : i + 4]) / 1e5 for i in range(start + 16, start + 40, 4)] if start >= 0 else []
    if any(abs(number - usual) > 0.02 for number, usual in zip(numbers, _SRGB_PRIMARIES, strict=False)):
        found.append("other primaries")
    return ", ".join(found) or None


def has_gain_map(data: bytes) -> bool:
    """Whether a JPEG or AVIF file has a gain map, which brightens it on HDR displays (ISO 21496-1)."""
    if data.startswith(b"\xff\xd8"):
        return any(name in data for name in _GAIN_MAPS)
    return data[4:8] == b"ftyp" and b"tmap" in data[:_HEADER]


def left_out(data: bytes) -> list[str]:
    """Return what viewers show of a JPEG or AVIF file beside its pixels, and a result does not have."""
    segments = data[:_SEGMENTS]
    found = {
        "a gain map for HDR displays, which is not kept: the result has the standard range": has_gain_map(data),
        "a video (motion photo), which is not kept": _MOTION.search(segments) or b"MotionPhoto_Data" in data,
        "the projection of a panorama (GPano), which is not kept: viewers show the result flat": _PANORAMA.search(
            segments
        ),
    }
    return [text for text, is_there in found.items() if is_there]


def has_crop(data: bytes, size: tuple[int, int]) -> bool:
    """Whether an AVIF file of ``size`` (width, height) says to show a part of it (the box clap of ISO/IEC 14496-12)."""
    start = data.find(b"\0\0\0\x28clap", 0, _HEADER) if data[4:8] == b"ftyp" else -1
    if start < 0 or len(data) < start + 24:
        return False
    width, across, height, down = struct.unpack_from(">4I", data, start + 8)
    return (width, height) != (size[0] * across, size[1] * down)


def has_content_credentials(data: bytes) -> bool:
    """Whether a file holds Content Credentials: the label of their store in any format (C2PA 2.1, section 11.1.4)."""
    return b"jumdc2pa\0\x11\0\x10" in data


def is_video(data: bytes) -> bool:
    """Return whether bytes begin like an MP4 or QuickTime file, and not like an image in such a file."""
    return data[4:8] == b"ftyp" and unread_kind(data[:_HEADER]) in (None, "MP4 video", "QuickTime video")


def text_in_place(data: bytes) -> str | None:
    """Return the fault and the remedy of a file that holds text in place of an image; None if it is not recognised."""
    start = data[:64].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((fault for letters, fault in _TEXTS.items() if start.startswith(letters)), None)


def remedy_of_frames(argument: str, format_name: str) -> str:
    """Return the remedy for a file of several frames that is given as an argument for one still image."""
    if format_name == "AVIF" and argument == "image":
        return "save one frame as PNG, or convert it to an animated WebP to edit all frames"
    more = {
        "image": ", or edit all frames with editkit.apply_to_animation",
        "mask": " (only the edit of an animation takes a mask of several frames)",
    }
    return f"save one frame as PNG{more.get(argument, '')}"


def unread_kind(data: bytes) -> str | None:
    """Return the kind of a file that is no image editkit reads; None if it is not recognised."""
    if data[4:8] == b"ftyp":
        brands = [data[8:12], *(data[i : i + 4] for i in range(16, min(int.from_bytes(data[:4]), 256), 4))]
        # The major brand may be the general one of HEIF files.
        named = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
        return next((name for name in named if name != "HEIF"), named[0] if named else None)
    if data.startswith(b"PK\3\4"):
        return next((kind for entry, kind in _ZIPS.items() if entry in data[:_HEADER]), "ZIP")
    start = data[:64].lstrip()
    return next(
        (kind for magic, kind in _SIGNATURES.items() if data.startswith(magic) or start.startswith(magic)), None
    )


def is_png_of_ios(data: bytes) -> bool:
    """Whether a file is a PNG as Xcode packs it into apps, whose pixels no other program reads."""
    return data.startswith(b"\x89PNG") and data[12:16] == b"CgBI"


def begins_as(data: bytes) -> str | None:
    """Return the format that is read and that a file begins like; None for another one."""
    return next((kind for magic, kind in _READ.items() if data.startswith(magic)), None)
