"""Chunks of PNG files (PNG, third edition, section 5)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
"""Bytes before the first chunk."""


class PngChunk(NamedTuple):
    """A chunk as it is stored."""

    kind: bytes
    content: bytes
    checksum: bytes
    """4 bytes; fewer if the file is cut short."""

    @property
    def is_whole(self) -> bool:
        """Whether the checksum is that of the chunk."""
        return _checksum(self.kind, self.content) == self.checksum


def png_chunks(data: bytes) -> Iterator[PngChunk]:
    """Yield the chunks of a PNG in order, damaged ones too, to the end of the data."""
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4])
        yield PngChunk(data[position + 4 : position + 8], data[position + 8 : end], data[end : end + 4])
        position = end + 4


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG with its length and checksum."""
    return struct.pack(">I", len(content)) + kind + content + _checksum(kind, content)


def _checksum(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))
