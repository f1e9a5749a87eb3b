"""Frames of a GIF, found by its blocks without decoding them (GIF89a, sections 18 to 27)."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

from .parts import Disposal, Part

_EXTENSION, _IMAGE, _CONTROL, _END = 0x21, 0x2C, 0xF9, b"\x3b"
_CLEAR, _RESTORE = 2, 3


def count_gif_frames(data: bytes, most: int) -> int:
    """Return the number of images in a GIF, at most ``most``; of a file that is cut short those that begin."""
    images = (start for start, _ in _blocks(data) if data[start] == _IMAGE)
    return sum(1 for _ in itertools.islice(images, most))


def gif_parts(data: bytes) -> Iterator[Part]:
    """Yield the frames of a GIF, each as a GIF of its own size; of a file that is cut short those that begin."""
    screen, control = data[10 : 13 + _table_size(data[10])], b""
    for start, end in _blocks(data):
        if data[start] == _IMAGE:
            yield _part(data[start:end], screen, control)
            control = b""
        elif data[start + 1 : start + 3] == bytes([_CONTROL, 4]):
            control = data[start + 3 : start + 7]


def _blocks(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield start and end of each extension and image of a GIF; of a file that is cut short those that begin."""
    position = 13 + _table_size(data[10])
    while position < len(data):
        if data[position] == _EXTENSION:
            end = _after_blocks(data, position + 2)
        elif data[position] == _IMAGE and position + 9 < len(data):
            end = _after_blocks(data, position + 11 + _table_size(data[position + 9]))
        else:  # the end of the file
            break
        yield position, end
        position = end


def _part(image: bytes, screen: bytes, control: bytes) -> Part:
    """Return a frame by its image block, the end of the file's header with its colours, and its control, if any."""
    left, top, width, height = struct.unpack("<4H", image[1:9])
    flags, delay, clear_index = struct.unpack("<BHB", control) if len(control) == 4 else (0, 0, 0)
    own_control = bytes([_EXTENSION, _CONTROL, 4, flags & 1, 0, 0, clear_index, 0])
    header = b"GIF89a" + image[5:9] + screen + own_control
    disposal = {_CLEAR: Disposal.CLEAR, _RESTORE: Disposal.RESTORE}.get(flags >> 2 & 7, Disposal.KEEP)
    file = header + image[:1] + bytes(4) + image[5:] + _END
    return Part(file, (left, top), (width, height), 10.0 * delay, disposal)


def _table_size(flags: int) -> int:
    """Bytes of the colour table that the flags of a header announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: bytes, position: int) -> int:
    """Return the position behind a chain of sub-blocks, which an empty one ends."""
    while position < len(data) and data[position]:
        position += 1 + data[position]
    return position + 1
