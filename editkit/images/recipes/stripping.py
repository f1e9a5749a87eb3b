"""Remove the recipe from an image file; every other byte of pixels and metadata stays as it is."""

from __future__ import annotations

from collections.abc import Callable

from ...errors import BadFile
from .. import png_metadata
from ..sources import Source
from ..stored.recipe_xmp import NAMESPACE, block_of, gif_packet, remove_recipe
from .reading import describe_file, read_file, read_packet

_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_RIFF_HEADER = 12
_VP8X_HAS_XMP = 0x04


def strip_recipe(source: Source, *, argument: str = "file") -> bytes:
    """Return the bytes of an image file without its recipe and the images embedded beside it.

    Of a PNG, JPEG, WebP or GIF the parts that hold them are left out; in a TIFF or AVIF, whose parts are found by their
    position, they are overwritten with spaces. Pixels are not encoded again. Raises BadFile if there is no recipe, or
    if it cannot be removed.
    """
    name, data = describe_file(source, argument), read_file(source, argument)
    if png_metadata.is_png(data):
        stripped = png_metadata.strip_recipe(data, name)
    else:
        read_packet(data, name)
        stripped = _stripper(data)(data)
    if stripped == data or NAMESPACE.encode() in stripped:
        _refuse(stripped, name)
    return stripped


def _refuse(data: bytes, name: str) -> None:
    if NAMESPACE.encode() in data:
        raise BadFile(f"{name} holds a recipe in XMP that another program wrote anew: remove the XMP with that program")
    raise BadFile(f"{name} holds no editkit recipe: there is nothing to remove")


def _stripper(data: bytes) -> Callable[[bytes], bytes]:
    if data.startswith(b"\xff\xd8"):
        return _strip_jpeg
    if data.startswith(b"RIFF"):
        return _strip_webp
    return _strip_gif if data.startswith(b"GIF8") else _blank


def _strip_jpeg(data: bytes) -> bytes:
    """Copy the segments before the image data, with the XMP among them changed or left out."""
    parts, position = [data[:2]], 2
    while data[position : position + 1] == b"\xff" and data[position + 1 : position + 2] != b"\xda":
        if data[position + 1] == 0xFF:  # a fill byte
            parts.append(b"\xff")
            position += 1
            continue
        length = int.from_bytes(data[position + 2 : position + 4])
        if length < 2:
            break
        segment, content = data[position : position + 2 + length], data[position + 4 : position + 2 + length]
        position += 2 + length
        if segment[1] == 0xE1 and content.startswith(_JPEG_XMP):
            packet = content.removeprefix(_JPEG_XMP)
            rest = remove_recipe(packet)
            body = _JPEG_XMP + rest
            if rest != packet:
                segment = b"\xff\xe1" + (len(body) + 2).to_bytes(2) + body if rest else b""
        parts.append(segment)
    return b"".join([*parts, data[position:]])


def _strip_webp(data: bytes) -> bytes:
    """Copy the chunks of a WebP, with the XMP among them changed or left out."""
    parts, position, end = [], _RIFF_HEADER, 8 + int.from_bytes(data[4:8], "little")
    dropped = False
    while position + 8 <= min(end, len(data)):
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        chunk = data[position : position + 8 + length + length % 2]
        position += len(chunk)
        if chunk.startswith(b"XMP "):
            packet = chunk[8 : 8 + length]
            rest = remove_recipe(packet)
            dropped = dropped or (rest != packet and not rest)
            if rest != packet:
                padding = b"\0" * (len(rest) % 2)
                chunk = b"XMP " + len(rest).to_bytes(4, "little") + rest + padding if rest else b""
        parts.append(chunk)
    chunks = b"".join(parts)
    if dropped and chunks.startswith(b"VP8X"):
        chunks = chunks[:8] + bytes([chunks[8] & ~_VP8X_HAS_XMP]) + chunks[9:]
    return b"RIFF" + (4 + len(chunks)).to_bytes(4, "little") + b"WEBP" + chunks + data[position:]


def _strip_gif(data: bytes) -> bytes:
    block = gif_packet(data)
    if block is None or remove_recipe(block[2]):
        return _blank(data)
    start, end, _ = block
    return data[:start] + data[end:]


def _blank(data: bytes) -> bytes:
    """Overwrite the recipe with spaces, which XMP readers skip."""
    block = block_of(data)
    return data if block is None else data[: block[0]] + b" " * (block[1] - block[0]) + data[block[1] :]
