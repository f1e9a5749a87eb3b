"""Frames of an APNG, found by its chunks without decoding them (PNG, third edition, section 11.3.6)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ..stored.png_chunks import SIGNATURE, png_chunk, png_chunks
from .parts import Disposal, Part

_PIXELS = {b"IDAT": 0, b"fdAT": 4}
"""Chunks of pixels, and the bytes before them."""
_OF_THE_WHOLE = (b"IHDR", b"acTL", b"eXIf")
"""Chunks that a part does not take over; its orientation is that of the image."""
_DISPOSALS = {1: Disposal.CLEAR, 2: Disposal.RESTORE}
_UNTIMED = 100
"""Denominator that stands for one of 0."""


def apng_parts(data: bytes) -> Iterator[Part]:
    """Yield the frames of an APNG, each as a PNG of its own size; of a file that is cut short those that begin.

    The image that is shown in place of the animation, if it is not its first frame, is left out.
    """
    header, shared, control = b"", b"", b""
    pixels: list[bytes] = []
    for kind, content in _chunks(data):
        if kind == b"fcTL":
            if pixels:
                yield _part(header, shared, control, b"".join(pixels))
            control, pixels = content, []
        elif kind in _PIXELS:
            pixels += [content[_PIXELS[kind] :]] if control else []
        elif kind == b"IHDR":
            header = content
        elif kind not in _OF_THE_WHOLE and not pixels:
            shared += png_chunk(kind, content)
    if pixels:
        yield _part(header, shared, control, b"".join(pixels))


def _part(header: bytes, shared: bytes, control: bytes, pixels: bytes) -> Part:
    """Return a frame by the header of the file, its other chunks, and its control and pixels."""
    _, width, height, left, top, numerator, denominator, disposal, blend = struct.unpack(">5I2H2B", control)
    chunks = png_chunk(b"IHDR", control[4:12] + header[8:]) + shared
    file = SIGNATURE + chunks + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")
    milliseconds = 1000 * numerator / (denominator or _UNTIMED)
    how = _DISPOSALS.get(disposal, Disposal.KEEP)
    return Part(file, (left, top), (width, height), milliseconds, how, covers=blend == 0)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each chunk in order; raises ValueError for pixels that are cut or damaged."""
    for chunk in png_chunks(data):
        if chunk.kind in (*_PIXELS, b"fcTL") and not chunk.is_whole:
            raise ValueError(f"chunk {chunk.kind.decode()} is not whole")
        yield chunk.kind, chunk.content
