"""The recipe as a property of an XMP packet (ISO 16684-1): in JPEG, WebP, AVIF, TIFF, GIF and MP4.

The property has a description of its own behind those of the source, so that it is added and removed in one piece.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

NAMESPACE = "urn:editkit:xmp:1:"
_PROPERTIES = tuple(f"{{{NAMESPACE}{end}}}recipe" for end in ("", "/"))
"""Name of the property as editkit writes it, and as Exiv2 does, which ends every namespace in a slash."""

_START = b'<rdf:Description rdf:about="" xmlns:editkit="' + NAMESPACE.encode() + b'"><editkit:recipe>'
_END = b"</editkit:recipe></rdf:Description>"
_BLOCK = re.compile(re.escape(_START) + b".*?" + re.escape(_END), re.DOTALL)

_EMPTY = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
_CLOSE = b"</rdf:RDF>"
_JPEG_BYTES = 65_502
"""Bytes of an XMP packet in one segment of a JPEG (ISO 16684-3)."""

# Of a JSON text these two characters alone are not allowed in XML.
_NO_XML = str.maketrans({"\ufffe": "\\ufffe", "\uffff": "\\uffff"})

_MAX_PACKET_BYTES = 16 * 2**20

_MP4_XMP = b"uuid\xbe\x7a\xcf\xcb\x97\xa9\x42\xe8\x9c\x71\x99\x94\x91\xe3\xaf\xac"
"""Type of the box that holds an XMP packet in an MP4 (XMP, part 3, 2.1.4)."""

_GIF_XMP = b"\x21\xff\x0bXMP DataXMP"
# Ends the packet for readers that skip it in blocks of up to 255 bytes, wherever a block ends (XMP, part 3, 1.1.2).
_GIF_TRAILER = b"\x01" + bytes(range(255, -1, -1)) + b"\x00"


def add_recipe(packet: bytes, recipe: str) -> bytes:
    """Return an XMP packet, new if ``packet`` is empty, with the JSON text of a recipe."""
    block = _START + escape(recipe.translate(_NO_XML)).encode() + _END
    head, close, tail = (packet or _EMPTY).rpartition(_CLOSE)
    return head + block + close + tail


def fits(recipe: str, packet: bytes, kind: str) -> bool:
    """Whether a format holds a recipe beside the source's XMP packet."""
    return kind != "JPEG" or len(add_recipe(packet, recipe)) <= _JPEG_BYTES


def remove_recipe(packet: bytes) -> bytes:
    """Return an XMP packet as it was before add_recipe; empty if nothing else is in it."""
    rest = _BLOCK.sub(b"", packet)
    return b"" if rest == _EMPTY else rest


def block_of(data: bytes) -> tuple[int, int] | None:
    """Return start and end of the recipe in the bytes of a file; None without one."""
    match = _BLOCK.search(data)
    return None if match is None else match.span()


def find_recipes(packet: bytes) -> list[str]:
    """Return the recipes in an XMP packet, also in one that another program wrote anew.

    Raises ValueError for a packet that is no XML, or too large.
    """
    if len(packet) > _MAX_PACKET_BYTES:
        raise ValueError(f"its XMP has {len(packet)} bytes")
    # A document type may define entities that grow without bound; XMP has none.
    if NAMESPACE.encode() not in packet or b"<!DOCTYPE" in packet.upper():
        return []
    try:
        root = ET.fromstring(packet.rstrip(b"\0 \r\n"))
    except ET.ParseError as error:
        raise ValueError(f"its XMP is no XML ({error})") from None
    texts = [element.text or "" for name in _PROPERTIES for element in root.iter(name)]
    return texts + [element.attrib[name] for element in root.iter() for name in _PROPERTIES if name in element.attrib]


def insert_gif_xmp(data: bytes, packet: bytes) -> bytes:
    """Insert an XMP packet into a GIF, behind its colour table."""
    flags = data[10]
    position = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    return data[:position] + _GIF_XMP + packet + _GIF_TRAILER + data[position:]


def gif_packet(data: bytes) -> tuple[int, int, bytes] | None:
    """Return start, end and content of the block that holds an XMP packet in a GIF; None without one."""
    start = data.find(_GIF_XMP)
    end = data.find(_GIF_TRAILER, start)
    if start < 0 or end < 0:
        return None
    return start, end + len(_GIF_TRAILER), data[start + len(_GIF_XMP) : end]


def append_mp4_xmp(data: bytes, packet: bytes) -> bytes:
    """Append a box with an XMP packet to an MP4, where it moves no other one."""
    return data + (4 + len(_MP4_XMP) + len(packet)).to_bytes(4) + _MP4_XMP + packet


def mp4_packet(data: bytes) -> bytes:
    """Return the XMP packet in an MP4; empty without one."""
    position = 0
    while position + 8 <= len(data):
        size, header = int.from_bytes(data[position : position + 4]), 8
        if size == 1:  # a size of 64 bits behind the type
            size, header = int.from_bytes(data[position + 8 : position + 16]), 16
        if data.startswith(_MP4_XMP, position + 4):
            return data[position + 4 + len(_MP4_XMP) : position + size]
        if size < header:  # up to the end of the file, or damaged
            break
        position += size
    return b""
