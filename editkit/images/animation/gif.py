"""Count the frames of a GIF without decoding them."""

from __future__ import annotations

_EXTENSION, _IMAGE = 0x21, 0x2C


def count_gif_frames(data: bytes, most: int) -> int:
    """Return the number of images in a GIF, at most ``most``; of a file that is cut short those that begin."""
    position = 13 + _table_size(data[10])
    count = 0
    while count < most and position < len(data):
        block = data[position]
        if block == _EXTENSION:
            position = _after_blocks(data, position + 2)
        elif block == _IMAGE and position + 9 < len(data):
            count += 1
            position = _after_blocks(data, position + 11 + _table_size(data[position + 9]))
        else:  # the end of the file
            break
    return count


def _table_size(flags: int) -> int:
    """Bytes of the colour table that the flags of a header announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: bytes, position: int) -> int:
    """Return the position behind a chain of sub-blocks, which an empty one ends."""
    while position < len(data) and data[position]:
        position += 1 + data[position]
    return position + 1
