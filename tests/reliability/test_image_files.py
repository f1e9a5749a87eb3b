"""Mutated image files of eight formats, and files that would decompress to gigabytes.

An answer has to be the image that Pillow decodes from the same bytes without tolerance, in the canonical form.
"""

from __future__ import annotations

import functools
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from reliability_child import in_child
from reliability_outcomes import Outcomes

import editkit
from editkit import EditkitError

pytestmark = [pytest.mark.reliability, pytest.mark.slow]

SIZE = (23, 17)
MODES = {
    "PNG": ("RGB", "RGBA", "L", "P", "1", "I;16"),
    "JPEG": ("RGB", "L", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("RGB", "RGBA", "L", "I;16"),
    "GIF": ("P", "L"),
    "BMP": ("RGB", "P", "1"),
    "PPM": ("RGB", "L"),
    "AVIF": ("RGB", "RGBA"),
}
PLAIN = ("1", "L", "P", "RGB", "RGBA", "LA")
"""Modes whose canonical form Pillow's own conversion gives."""
MOST_BYTES = 1_300_000_000
"""Memory that opening one small file may take: that of an allowed image of 64 million pixels."""


def encoded(kind: str, mode: str) -> bytes:
    generator = np.random.default_rng(3)
    rows = np.linspace(0, 255, SIZE[0], dtype=np.uint8)[None, :, None] + np.zeros((SIZE[1], 1, 3), np.uint8)
    rows = rows + generator.integers(0, 9, rows.shape, dtype=np.uint8)
    image = Image.fromarray(rows)
    if mode == "I;16":
        image = Image.fromarray(rows[..., 0].astype(np.uint16) * 200)
    elif mode == "RGBA":
        image.putalpha(Image.fromarray(rows[..., 1]))
    else:
        image = image.convert(mode)
    stream = io.BytesIO()
    image.save(stream, kind, **({"compression": "tiff_lzw"} if kind == "TIFF" and mode == "RGB" else {}))
    return stream.getvalue()


def mutations(data: bytes, count: int) -> Iterator[tuple[str, bytes]]:
    """Damaged copies of a file, the same in every run, most of them damaged in its header."""
    generator = np.random.default_rng(len(data))
    for number in range(count):
        copy = bytearray(data)
        place = int(generator.integers(0, min(len(data), 120) if number % 3 else len(data)))
        length = int(generator.integers(1, 12))
        kind = ("flip", "noise", "zeros", "ones", "cut", "delete", "repeat", "insert")[number % 8]
        if kind == "flip":
            copy[place] ^= 1 << int(generator.integers(8))
        elif kind == "cut":
            del copy[place:]
        elif kind == "delete":
            del copy[place : place + length]
        elif kind == "repeat":
            copy[place:place] = copy[max(0, place - 40) : place]
        else:
            fill = {"zeros": b"\0" * length, "ones": b"\xff" * length}.get(kind, generator.bytes(length))
            copy[place : place + (0 if kind == "insert" else length)] = fill
        yield f"{kind} at {place}", bytes(copy)


def is_canonical(data: bytes, image: Image.Image) -> bool:
    """Whether an image is what Pillow decodes from the same bytes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            strict = Image.open(io.BytesIO(data))
            tile: Any = getattr(strict, "tile", None)
            covered = tile[0][1] if tile and strict.format == "GIF" else (0, 0, *strict.size)
            strict.load()
            upright = ImageOps.exif_transpose(strict)
    except Exception:
        return False
    if upright is None or image.size != upright.size:
        return False
    if strict.mode not in PLAIN or strict.info.get("icc_profile") or "transparency" in strict.info:
        return image.mode in ("RGB", "RGBA")
    expected = upright.convert(image.mode)
    if covered != (0, 0, *strict.size):  # Pillow fills the rest, which viewers show clear
        alpha = Image.new("L", strict.size)
        alpha.paste(255, covered)
        expected.putalpha(alpha)
    return image.tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", MODES)
def test_mutated_files_are_refused_or_canonical(kind: str, probe: object, long: bool) -> None:
    with probe(f"mutated images: {kind}") as tally:  # type: ignore[operator]
        for mode in MODES[kind]:
            data = encoded(kind, mode)
            assert is_canonical(data, editkit.open_image(data))
            for label, mutated in mutations(data, 1000 if long else 64):
                tally.attempt(
                    f"{kind} {mode} {label}",
                    functools.partial(editkit.open_image, mutated),
                    check=functools.partial(is_canonical, mutated),
                    seconds=20,
                )


# Bombs


def png(width: int, height: int, data: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
    text = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + text


def patched(kind: str, mode: str, old: bytes, new: bytes) -> bytes:
    """A file of which the stored size is replaced by another."""
    data = encoded(kind, mode)
    assert old in data, f"{kind} stores its size in another way"
    return data.replace(old, new)


def bombs() -> Iterator[tuple[str, bytes]]:
    zeros = zlib.compress(b"\0" * 300_000_000, 1)
    width, height = SIZE
    size, large = struct.pack("<ii", width, height), struct.pack("<ii", 65535, 65535)
    yield "PNG of 65535 squared", png(65535, 65535, zlib.compress(b""))
    yield "PNG of one row", png(2**31 - 1, 1, zlib.compress(b""))
    yield "PNG pixels of 300 MB", png(8, 8, zeros)
    yield "PNG profile of 300 MB", png(8, 8, zlib.compress(b"\0" * 200), (b"iCCP", b"a\0\0" + zeros))
    yield "PNG text of 300 MB", png(8, 8, zlib.compress(b"\0" * 200), (b"zTXt", b"a\0\0" + zeros))
    yield "PNG text in UTF-8 of 300 MB", png(8, 8, zlib.compress(b"\0" * 200), (b"iTXt", b"a\0\1\0\0\0" + zeros))
    yield "GIF of 65535 squared", patched("GIF", "P", struct.pack("<HH", width, height), b"\xff\xff\xff\xff")
    yield (
        "BMP of 65535 squared",
        patched("BMP", "RGB", size, large),
    )
    yield "BMP of 2 ** 31", patched("BMP", "RGB", size, struct.pack("<ii", 2**31 - 1, 1))
    yield "PPM of 65535 squared", b"P6 65535 65535 255\n\0"
    yield "PPM of large numbers", b"P6 " + b"9" * 100_000 + b" 1 255\n"
    yield "PPM of comments", b"P6\n" + b"#\n" * 100_000 + b"1 1 255\n\0\0\0"
    yield "JPEG of 65535 squared", patched("JPEG", "RGB", struct.pack(">HH", height, width), b"\xff\xff\xff\xff")
    yield (
        "AVIF of 65535 squared",
        patched("AVIF", "RGB", struct.pack(">II", width, height), b"\0\0\xff\xff" * 2),
    )
    yield "WebP of 2 ** 24", webp_canvas(2**24, 2**24)
    yield "TIFF of 65535 squared", tiff(65535, 65535)
    yield "TIFF of 2 ** 31", tiff(2**31 - 1, 2**31 - 1)
    yield "TIFF of 3000 pages", pages("TIFF", 3000)
    yield "GIF of 3000 frames", pages("GIF", 3000)


def webp_canvas(width: int, height: int) -> bytes:
    body = encoded("WEBP", "RGB")[12:]
    sizes = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    chunks = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + sizes + body
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def tiff(width: int, height: int) -> bytes:
    """A TIFF of one deflated strip that claims a size."""
    strip = zlib.compress(b"\0" * 1000)
    tags = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 273: 8, 277: 1, 278: height, 279: len(strip)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    start = 8 + len(strip)
    return b"II*\0" + struct.pack("<I", start) + strip + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"


def pages(kind: str, count: int) -> bytes:
    stream = io.BytesIO()
    frames = [Image.new("L", (1, 1), number % 251) for number in range(count)]
    frames[0].save(stream, kind, save_all=True, append_images=frames[1:])
    return stream.getvalue()


def test_bombs_are_refused_in_time_and_memory(probe: object) -> None:
    with probe("decompression bombs") as tally:  # type: ignore[operator]
        for label, data in bombs():
            judge_bomb(tally, label, data)


def judge_bomb(tally: Outcomes, label: str, data: bytes) -> None:
    """Open a bomb in a process of its own, and count how that ended."""
    ending = in_child(lambda: editkit.open_image(data).size, seconds=30)
    if ending.state in ("crashed", "hung"):
        tally.count(ending.state, label)
    elif ending.growth > MOST_BYTES:
        tally.count("crashed", f"{label}: took {ending.growth // 10**6} MB")
    elif ending.state == "returned":
        tally.count("right" if max(ending.value) <= 16384 else "silent wrong", f"{label}: {ending.value}")
    elif isinstance(ending.value, EditkitError):
        tally.count("refused")
    else:
        tally.count("untyped", f"{label}: {ending.value!r}")
