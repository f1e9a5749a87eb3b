"""Colour profiles for tests of images, made without a file."""

from __future__ import annotations

import struct

from PIL import ImageCms

WHITE = (0.9642, 1.0, 0.8249)
"""XYZ of the D50 white of all profiles."""


def rgb_profile(name: str, curve: float, *primaries: tuple[float, float, float]) -> bytes:
    """Return a matrix profile (ICC.1:2001) of one gamma and the XYZ under D50 of red, green and blue."""
    tone = b"curv\0\0\0\0\0\0\0\1" + int(curve * 256).to_bytes(2, "big") + b"\0\0"
    text = name.encode() + b"\0"
    tags = {b"desc": b"desc\0\0\0\0" + len(text).to_bytes(4, "big") + text + bytes(78), b"wtpt": _xyz(WHITE)}
    tags |= dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(_xyz, primaries), strict=True))
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), tone)
    start, table, body = 132 + 12 * len(tags), b"", b""
    for signature, content in tags.items():
        table += signature + (start + len(body)).to_bytes(4, "big") + len(content).to_bytes(4, "big")
        body += content + bytes(-len(content) % 4)
    header = bytearray(128)
    header[0:4] = (start + len(body)).to_bytes(4, "big")
    header[8:12] = b"\2\x10\0\0"
    header[12:24] = b"mntrRGB XYZ "
    header[36:40] = b"acsp"
    header[68:80] = _xyz(WHITE)[8:]
    return bytes(header) + len(tags).to_bytes(4, "big") + table + body


def _xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

WIDE = rgb_profile("Wide", 2.2, (0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
"""Profile with the primaries of Display P3 and a gamma of 2.2."""
