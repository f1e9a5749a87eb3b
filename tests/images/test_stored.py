"""Laws of stored images: depth, profile and levels of a file come back, and edits move only what they change."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, PngImagePlugin

from editkit.images.conversion import pixels
from editkit.images.metrics import stored_difference
from editkit.images.reading import open_image, open_stored
from editkit.images.stored.colour import read_profile
from editkit.images.stored.deep import encode_deep_png, insert_png_chunks
from editkit.images.stored.image import StoredImage, mix_stored
from editkit.images.writing import encode_image
from editkit.testing.profiles import SRGB, WIDE


def levels(*, depth: int = 8, channels: int = 3, seed: int = 0) -> NDArray[Any]:
    dtype = {8: np.uint8, 16: np.uint16}[depth]
    values: NDArray[Any] = np.random.default_rng(seed).integers(0, 2**depth, (9, 13, channels), dtype=dtype)
    return values


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("profile", [None, SRGB, WIDE])
def test_16_bit_png_with_profile_comes_back(channels: int, profile: bytes | None) -> None:
    original = levels(depth=16, channels=channels)
    opened = open_stored(insert_png_chunks(encode_deep_png(original), profile, PngImagePlugin.PngInfo()))
    assert np.array_equal(opened.levels, original)
    assert opened.icc == profile
    again = open_stored(encode_image(opened.view(), ".png"))
    assert np.array_equal(again.levels, original)
    assert again.icc == profile


def test_16_bit_png_is_read_by_opencv_4(monkeypatch: pytest.MonkeyPatch) -> None:
    log: Any = getattr(cv2.utils, "logging", cv2)
    monkeypatch.delattr(cv2.utils, "logging", raising=False)
    for name in ("getLogLevel", "setLogLevel"):
        monkeypatch.setattr(cv2, name, getattr(log, name), raising=False)
    original = levels(depth=16)
    assert np.array_equal(open_stored(encode_deep_png(original)).levels, original)


def test_8_bit_png_with_profile_comes_back() -> None:
    buffer = io.BytesIO()
    Image.fromarray(levels()).save(buffer, "PNG", icc_profile=WIDE)
    image = open_image(buffer.getvalue())
    assert not np.array_equal(np.asarray(image), levels())  # the view is in sRGB
    for suffix in (".png", ".webp"):
        again = open_stored(encode_image(image, suffix))
        assert np.array_equal(again.levels, levels())
        assert again.icc == WIDE
    assert open_stored(encode_image(image, ".jpg")).icc == WIDE


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1), (5, 4, 3), (5, 4, 4)])
def test_16_bit_arrays_keep_their_depth(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(1).integers(0, 65536, shape, dtype=np.uint16)
    stored = open_stored(array)
    expected = array if shape[2:] in ((3,), (4,)) else np.dstack([array.reshape(5, 4)] * 3)
    assert stored.depth == 16
    assert np.array_equal(stored.levels, expected)


def test_painted_view_is_taken_as_painted() -> None:
    image = open_image(levels(depth=16))
    image.putpixel((0, 0), (1, 2, 3))
    assert StoredImage.of(image).depth == 8
    assert StoredImage.of(image.resize((3, 3))).depth == 8
    assert StoredImage.of(open_image(levels(depth=16)).copy()).depth == 16
    (note,) = open_stored(image).notes
    assert "were changed after it was opened" in note and "without the 16 bits per channel of its file" in note
    assert open_stored(open_image(levels()).rotate(90)).notes == ()


def test_profile_agrees_with_littlecms() -> None:
    # LittleCMS clips to sRGB and rounds to 8 bits; inside the gamut it may differ by its own rounding of one level.
    stored = StoredImage(levels(), read_profile(WIDE))
    inside = np.all((stored.colours() > 0.02) & (stored.colours() < 0.98), axis=2)
    source = ImageCms.ImageCmsProfile(io.BytesIO(WIDE))
    other = ImageCms.profileToProfile(Image.fromarray(levels()), source, ImageCms.createProfile("sRGB"), 1)
    assert other is not None
    assert inside.sum() > 20
    assert np.abs(stored.colours() * 255 - np.asarray(other))[inside].max() <= 1.5


@pytest.mark.parametrize(("depth", "tolerance"), [(8, 0), (16, 8)])
def test_profile_conversion_and_back_keeps_levels(depth: int, tolerance: int) -> None:
    stored = StoredImage(levels(depth=depth), read_profile(WIDE))
    assert stored.colours().min() < 0  # colours outside sRGB are kept
    assert np.abs(stored.with_colours(stored.colours()).levels.astype(int) - stored.levels).max() <= tolerance


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("profile", [None, WIDE])
def test_change_moves_only_changed_pixels(depth: int, profile: bytes | None) -> None:
    stored = StoredImage(levels(depth=depth, channels=4), profile and read_profile(profile))
    change = np.zeros((9, 13, 3), np.float32)
    change[:4] = 0.25
    changed = mix_stored([stored], [1.0], change)
    assert np.array_equal(changed.levels[4:], stored.levels[4:])
    assert np.array_equal(changed.levels[..., 3], stored.levels[..., 3])
    assert not np.array_equal(changed.levels[:4], stored.levels[:4])
    assert changed.icc == stored.icc


def test_difference_is_counted_in_levels_of_the_result() -> None:
    before = levels(depth=16)
    after = before.copy()
    after[0, 0, 0] ^= 256
    assert stored_difference(StoredImage(before), StoredImage(after)) == 256
    shallow = ((before.astype(np.uint32) + 128) // 257).astype(np.uint8)
    assert stored_difference(StoredImage(before), StoredImage(shallow)) == 0
    mask = Image.new("L", (13, 9))
    mask.putpixel((0, 0), 255)
    assert stored_difference(StoredImage(before), StoredImage(after), mask) == 0


def test_pixels_of_a_deep_image_are_not_rounded_to_8_bits() -> None:
    array = levels(depth=16)
    assert np.abs(pixels(open_image(array)) - array / np.float32(65535)).max() < 1e-6


@pytest.mark.parametrize(
    ("codes", "words"), [((12, 13), "Display P3"), ((9, 16), "BT.2020, transfer PQ"), ((1, 13), None), ((2, 2), None)]
)
def test_colour_space_without_profile_is_named(codes: tuple[int, int], words: str | None) -> None:
    plain = io.BytesIO()
    Image.fromarray(levels()).save(plain, "PNG")
    chunk = PngImagePlugin.PngInfo()
    chunk.add(b"cICP", bytes((*codes, 0, 1)))
    png = insert_png_chunks(plain.getvalue(), None, chunk)
    coded = io.BytesIO()
    Image.fromarray(levels()).save(coded, "AVIF")
    avif = bytearray(coded.getvalue())
    place = avif.find(b"colrnclx")
    avif[place + 9], avif[place + 11] = codes
    for data in (png, bytes(avif)):
        notes = open_stored(data).notes
        assert bool(notes) == bool(words)
        assert words is None or words in notes[0]


def test_narrow_range_of_a_png_is_named() -> None:
    plain, chunk = io.BytesIO(), PngImagePlugin.PngInfo()
    Image.fromarray(levels()).save(plain, "PNG")
    chunk.add(b"cICP", bytes((1, 13, 0, 0)))
    (note,) = open_stored(insert_png_chunks(plain.getvalue(), None, chunk)).notes
    assert "levels of the narrow range" in note


def test_deep_png_of_rare_kinds_keeps_its_levels() -> None:
    grey, colour = levels(depth=16, channels=2), levels(depth=16)
    stored = open_stored(deep_png(4, grey))
    assert np.array_equal(stored.levels, grey[..., [0, 0, 0, 1]])
    key = colour[2, 3]
    stored = open_stored(deep_png(2, colour, png_chunk(b"tRNS", key.astype(">u2").tobytes())))
    assert np.array_equal(stored.levels[..., :3], colour)
    assert np.array_equal(stored.levels[..., 3] == 0, (colour == key).all(axis=2))
    assert stored.notes == ()


def deep_png(colour_type: int, values: NDArray[Any], extra: bytes = b"") -> bytes:
    """A 16-bit PNG of a colour type that neither Pillow nor OpenCV writes."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + extra + body


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
