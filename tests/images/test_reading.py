"""Laws of opening images: the pixels are those a viewer displays, and every error is one clear line."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, TiffImagePlugin, features

from editkit.errors import BadImage, EditkitError, InvalidParameter
from editkit.images import sources
from editkit.images.conversion import pixels
from editkit.images.masks.reading import open_mask
from editkit.images.metrics import largest_difference
from editkit.images.reading import open_image, open_stored
from editkit.images.stored.deep import encode_deep_png, insert_png_chunks
from editkit.images.values import open_values

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def colours(width: int = 12, height: int = 7, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG written chunk by chunk, for variants that Pillow cannot write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def icc(space: bytes, kind: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A version 2 colour profile holding ``tags``."""
    table, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(data), len(content))
        data += content + b"\0" * (-len(content) % 4)
    header = struct.pack(">I4sI4s4s4s", start + len(data), b"lcms", 0x02400000, kind, space, pcs)
    header += struct.pack(">6H4s", 2020, 1, 1, 0, 0, 0, b"acsp") + b"\0" * 28
    header += struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + table + data


def xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256)) + b"\0\0"


WHITE_POINT = xyz(0.9642, 1.0, 0.8249)
SRGB_RED, SRGB_GREEN, SRGB_BLUE = (0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)


def rgb_profile(exponent: float, *primaries: tuple[float, float, float]) -> bytes:
    tags = dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), (xyz(*primary) for primary in primaries), strict=True))
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma(exponent))
    return icc(b"RGB ", b"mntr", b"XYZ ", {b"wtpt": WHITE_POINT, **tags, **curves})


def cmyk_profile(darkest: int = 128, curve: bytes = bytes(range(256))) -> bytes:
    """No ink is white and any full ink has a lightness, mid-grey by default: nothing like the plain conversion."""
    nodes = b"".join(bytes((255, 128, 128)) if node == 0 else bytes((darkest, 128, 128)) for node in range(16))
    ramp = bytes(range(256))
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + matrix + curve * 4 + nodes + ramp * 3
    return icc(b"CMYK", b"prtr", b"Lab ", {b"wtpt": WHITE_POINT, b"A2B0": table})


LINEAR = rgb_profile(1.0, SRGB_RED, SRGB_GREEN, SRGB_BLUE)
GREY_LINEAR = icc(b"GRAY", b"mntr", b"XYZ ", {b"wtpt": WHITE_POINT, b"kTRC": gamma(1.0)})


CURVE = b"para\0\0\0\0\0\3\0\0" + struct.pack(
    ">5i", *(round(65536 * x) for x in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
)
GREY_SRGB = icc(b"GRAY", b"mntr", b"XYZ ", {b"wtpt": WHITE_POINT, b"kTRC": CURVE})


def from_linear(levels: NDArray[Any]) -> NDArray[np.float64]:
    values = levels / 255
    return 255 * np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)


# ---- kinds of files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_files_give_their_pixels_back(kind: str, tmp_path: Path) -> None:
    array = colours()
    path = tmp_path / "image"
    path.write_bytes(encoded(Image.fromarray(array), kind, **({"lossless": True} if kind == "WEBP" else {})))
    with path.open("rb") as file:
        for source in (path, str(path), path.read_bytes(), bytearray(path.read_bytes()), file):
            opened = open_image(source)
            assert opened.mode == "RGB"
            assert np.array_equal(np.asarray(opened), array)


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.fromarray(colours()), "PNG")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert np.array_equal(np.asarray(open_image("-")), colours())


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_kept_with_the_colour_under_it(kind: str) -> None:
    array = colours(channels=4)
    array[0, :, 3] = 0
    options: dict[str, Any] = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    opened = open_image(encoded(Image.fromarray(array), kind, **options))
    assert opened.mode == "RGBA"
    assert np.array_equal(np.asarray(opened), array)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(orientation: int, kind: str) -> None:
    image = Image.fromarray(np.kron(colours(3, 2), np.ones((16, 16, 1), np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, dict[str, Any]] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    data = encoded(image, kind, exif=exif, **options.get(kind, {}))
    back = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    inverse = Image.Exif()
    inverse[0x0112] = back
    upright = open_image(data)
    assert upright.size == (image.size if orientation < 5 else image.size[::-1])
    stored = upright.copy()
    stored.info["exif"] = inverse.tobytes()
    assert largest_difference(ImageOps.exif_transpose(stored), image) <= (4 if kind == "JPEG" else 0)
    assert largest_difference(open_image(upright), upright) == 0


def test_orientation_6_turns_clockwise() -> None:
    image = Image.fromarray(np.array([[RED, GREEN]], np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    assert np.asarray(open_image(encoded(image, "PNG", exif=exif))).tolist() == [[list(RED)], [list(GREEN)]]


def test_broken_exif_is_ignored() -> None:
    data = encoded(Image.fromarray(colours()), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xffgarbage")
    assert np.array_equal(np.asarray(open_image(data)), colours())


def test_grey_and_one_bit() -> None:
    grey = colours(channels=1)[..., 0]
    assert np.array_equal(np.asarray(open_image(encoded(Image.fromarray(grey), "PNG"))), np.stack([grey] * 3, axis=-1))
    bits = Image.fromarray(grey > 100)
    assert bits.mode == "1"
    opened = open_image(encoded(bits, "PNG"))
    assert opened.mode == "RGB"
    assert np.array_equal(np.asarray(opened)[..., 1], np.where(grey > 100, 255, 0))


def test_grey_with_alpha() -> None:
    array = colours(channels=2)
    opened = open_image(encoded(Image.fromarray(array, "LA"), "PNG"))
    assert opened.mode == "RGBA"
    assert np.array_equal(np.asarray(opened), array[..., [0, 0, 0, 1]])


def palette(**options: Any) -> bytes:
    image = Image.new("P", (3, 1))
    image.putpalette([*RED, *GREEN, *BLUE])
    image.putdata([0, 1, 2])
    return encoded(image, options.pop("kind", "PNG"), **options)


def test_palette() -> None:
    assert np.asarray(open_image(palette())).tolist() == [[list(RED), list(GREEN), list(BLUE)]]


@pytest.mark.parametrize(
    ("options", "alpha"),
    [
        ({"transparency": 1}, [255, 0, 255]),
        ({"transparency": bytes([10, 128, 255])}, [10, 128, 255]),
        ({"transparency": 1, "kind": "GIF"}, [255, 0, 255]),
    ],
)
def test_palette_with_transparency(options: dict[str, Any], alpha: list[int]) -> None:
    opened = open_image(palette(**options))
    assert opened.mode == "RGBA"
    assert np.asarray(opened)[0, :, 3].tolist() == alpha


@pytest.mark.parametrize(
    ("layout", "row", "clear", "levels", "alpha"),
    [
        ((1, 0), b"\x40", [1], [0, 255], [255, 0]),
        ((2, 0), b"\x60", [2], [85, 170], [255, 0]),
        ((4, 0), b"\x3c", [3], [51, 204], [0, 255]),
        ((8, 0), b"\x03\x33", [3], [3, 51], [0, 255]),
        ((16, 0), b"\x01\x01\xff\xff", [257], [1, 255], [0, 255]),
        ((8, 2), b"\x01\x01\x01\x02\x02\x02", [2, 2, 2], [1, 2], [255, 0]),
        ((16, 2), b"\x40\x40" * 3 + b"\x41\x41" * 3, [0x4040] * 3, [64, 65], [0, 255]),
    ],
)
def test_a_transparent_colour_at_every_bit_depth(
    layout: tuple[int, int], row: bytes, clear: list[int], levels: list[int], alpha: list[int]
) -> None:
    transparent = (b"tRNS", struct.pack(f">{len(clear)}H", *clear))
    opened = open_image(png(2, 1, *layout, b"\0" + row, transparent))
    assert opened.mode == "RGBA"
    assert np.asarray(opened)[0, :, 0].tolist() == levels
    assert np.asarray(opened)[0, :, 3].tolist() == alpha
    assert open_image(png(2, 1, *layout, b"\0" + row)).mode == "RGB"


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_and_not_clipped(kind: str) -> None:
    levels = np.arange(256, dtype=np.uint16).reshape(8, 32) * 257
    # Written by hand, because Pillow 10 cannot write a PPM of 16 bits.
    ppm = b"P5 32 8 65535\n" + levels.astype(">u2").tobytes()
    opened = open_image(ppm if kind == "PPM" else encoded(Image.fromarray(levels), kind))
    assert opened.mode == "RGB"
    assert np.array_equal(np.asarray(opened)[..., 0], levels // 257)


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B"])
def test_sixteen_bit_objects(mode: str) -> None:
    order = ">u2" if mode == "I;16B" else "<u2"
    levels = np.arange(0, 65536, 1311, dtype=np.uint16).reshape(5, 10)
    image = Image.frombytes(mode, (10, 5), levels.astype(order).tobytes())
    assert np.array_equal(np.asarray(open_image(image))[..., 0], np.rint(levels / 257))


def test_floats_in_files_and_objects() -> None:
    values = (np.arange(35, dtype=np.float32) / 34).reshape(5, 7)
    for source in (Image.fromarray(values), encoded(Image.fromarray(values), "TIFF")):
        assert np.array_equal(np.asarray(open_image(source))[..., 2], np.rint(values.astype(np.float64) * 255))
    with pytest.raises(BadImage, match=r"floats must lie in \[0, 1\]"):
        open_image(Image.fromarray(values * 255))


def tiff(
    pixels: bytes, bits: tuple[int, ...], photometric: int, planes: int = 1, tags: dict[int, Any] | None = None
) -> bytes:
    """A TIFF of 8 x 4 pixels in strips of equal lengths without compression."""
    directory, count = TiffImagePlugin.ImageFileDirectory_v2(b"II*\0\0\0\0\0"), len(bits) if planes == 2 else 1
    length = len(pixels) // count
    directory.update({256: 8, 257: 4, 258: bits, 259: 1, 262: photometric, 277: len(bits), 278: 4, 284: planes})
    directory.update({273: tuple(length * i for i in range(count)), 279: (length,) * count})
    directory.update(tags or {})
    return b"II*\0" + struct.pack("<I", 8) + directory.tobytes(8) + pixels


def test_tiff_whose_0_is_white_and_one_of_12_bits_are_read_as_meant() -> None:
    levels = np.linspace(0, 4095, 32).astype(np.uint16).reshape(4, 8)
    packed = bytes(b for x, y in levels.reshape(-1, 2) for b in (x >> 4, (x & 15) << 4 | y >> 8, y & 255))
    deep = levels * np.uint16(16)
    inverted = tiff((65535 - deep).astype("<u2").tobytes(), (16,), 0)
    assert np.array_equal(open_stored(inverted).levels[..., 0], deep)
    assert np.array_equal(open_values(inverted, argument="map"), deep)
    assert np.array_equal(open_stored(tiff(packed, (12,), 1)).levels[..., 0], deep + (levels >> 8))


def test_tiff_of_a_depth_that_is_not_read_is_called_a_tiff() -> None:
    with pytest.raises(BadImage, match="it is a TIFF with pixels of"):
        open_stored(tiff(bytes(64), (10,), 1))


def test_tiff_of_deep_planes_is_refused() -> None:
    planes = np.arange(96, dtype="<u2").tobytes()
    with pytest.raises(BadImage, match="a plane of more than 8 bits for each channel"):
        open_stored(tiff(planes, (16, 16, 16), 2, planes=2))
    shallow = np.arange(96, dtype=np.uint8).tobytes()
    assert open_stored(tiff(shallow, (8, 8, 8), 2, planes=2)).levels[0, 1].tolist() == [1, 33, 65]


@pytest.mark.parametrize(
    ("bits", "photometric", "tags", "words"),
    [
        ((32, 32, 32), 2, {339: (3, 3, 3)}, "pixels of RGB, 32-bit floating-point, which is not read"),
        ((16, 16), 1, {338: 2}, "pixels of grey with alpha, 16-bit unsigned, which is not read"),
        ((8,), 1, {339: (2,)}, "pixels of grey, 8-bit signed, which is not read"),
        ((16,), 32803, {}, "the values of a camera's sensor, a raw photograph"),
        ((8, 8, 8), 2, {259: 34887}, "the compression LERC"),
    ],
)
def test_layout_of_a_tiff_that_is_not_read_is_named(
    bits: tuple[int, ...], photometric: int, tags: dict[int, Any], words: str
) -> None:
    with pytest.raises(BadImage, match=words):
        open_image(tiff(bytes(32 * sum(bits) // 8), bits, photometric, tags=tags))


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "I;16"])
def test_several_images_in_one_pnm_file_are_refused(mode: str) -> None:
    file = io.BytesIO()
    Image.new(mode, (9, 5)).save(file, "PPM")
    assert open_image(file.getvalue() + b"\n").size == (9, 5)
    with pytest.raises(BadImage, match="holds several images"):
        open_image(2 * file.getvalue())


def test_preview_at_the_begin_of_a_raw_photograph_is_not_taken_for_it() -> None:
    for tags in ({254: 1, 330: 8}, {254: 1, 50706: b"\1\4\0\0"}):
        with pytest.raises(BadImage, match=r"begins with a preview of 8 x 4 pixels.*raw converter"):
            open_image(tiff(bytes(96), (8, 8, 8), 2, tags=tags))
    assert open_image(tiff(bytes(96), (8, 8, 8), 2, tags={254: 1})).size == (8, 4)


@pytest.mark.parametrize(("width", "is_preview"), [(6000, True), (4, False)])
def test_image_with_a_larger_one_below_it_is_a_preview(width: int, is_preview: bool) -> None:
    directory, shift = TiffImagePlugin.ImageFileDirectory_v2(b"II*\0\0\0\0\0"), len(tiff(b"", (8,), 1, tags={330: 8}))
    directory.update({256: width, 257: 4})
    data = tiff(bytes(32), (8,), 1, tags={330: shift + 32}) + directory.tobytes(shift + 32)
    if is_preview:
        with pytest.raises(BadImage, match="begins with a preview"):
            open_image(data)
    else:
        assert open_image(data).size == (8, 4)


def test_channel_that_is_not_marked_as_transparency_is_named() -> None:
    levels = np.arange(128, dtype=np.uint8).reshape(4, 8, 4)
    stored = open_stored(tiff(levels.tobytes(), (8,) * 4, 2, tags={338: 0}))
    assert np.array_equal(stored.levels, levels[..., :3])
    assert ["a channel beside its colours" in note for note in stored.notes] == [True]
    marked = open_stored(tiff(levels.tobytes(), (8,) * 4, 2, tags={338: 2}))
    assert (marked.levels.shape, marked.notes) == ((4, 8, 4), ())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_image_that_is_stored_turned_at_its_size_is_known(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    wide, square = (open_stored(encoded(Image.new("RGB", size), kind, exif=exif)).turned for size in ((8, 4), (8, 8)))
    assert (wide, square) == (1 < orientation < 5, orientation > 1)


@pytest.mark.parametrize(
    ("xmp", "part"),
    [
        ('<a GCamera:MotionPhoto="1"/>', "has a video (motion photo)"),
        ("<GCamera:MicroVideo>1</GCamera:MicroVideo>", "has a video (motion photo)"),
        ('<a GCamera:MotionPhoto="0"/>', ""),
        ('<a GPano:ProjectionType="equirectangular"/>', "has the projection of a panorama"),
    ],
)
def test_parts_of_a_photograph_that_a_result_lacks_are_named(xmp: str, part: str) -> None:
    notes = open_stored(encoded(Image.new("RGB", (8, 8)), "JPEG", xmp=xmp.encode())).notes
    assert [part in note for note in notes] == [True] * bool(part)


def test_further_views_of_a_stereo_photograph_are_named() -> None:
    stream = io.BytesIO()
    view = Image.new("RGB", (8, 8))
    view.save(stream, "MPO", save_all=True, append_images=[view])
    data = stream.getvalue()
    assert open_stored(data).notes == ()  # such as a preview: its type is not defined
    first = data.index(struct.pack("<II", 0x030000, data.rindex(b"\xff\xd8\xff")))  # entries have 16 bytes
    view_type = struct.pack("<I", 0x020002)
    changed = data[:first] + view_type + data[first + 4 : first + 16] + view_type + data[first + 20 :]
    assert ["2 views (MPO)" in note for note in open_stored(changed).notes] == [True]


@pytest.mark.parametrize(
    ("xmlns", "notes"), [("http://ns.adobe.com/hdr-gain-map/1.0/", 1), ("http://ns.adobe.com/x/", 0)]
)
def test_a_gain_map_is_named(xmlns: str, notes: int) -> None:
    data = encoded(Image.new("RGB", (8, 8)), "JPEG", xmp=f'<x:xmpmeta xmlns:hdrgm="{xmlns}"/>'.encode())
    assert ["gain map" in note for note in open_stored(data).notes] == [True] * notes


def test_content_credentials_are_named() -> None:
    data = encoded(Image.new("RGB", (8, 8)), "JPEG")
    box = bytes.fromhex("ff eb 00 30 4a 50 00 01 00 00 00 01 00 00 00 28") + b"jumb\0\0\0\x20jumdc2pa"
    box += bytes.fromhex("00 11 00 10 80 00 00 aa 00 38 9b 71 03") + b"c2pa\0"
    signed = data[:2] + box.ljust(0x32, b"\0") + data[2:]
    assert open_stored(data).notes == ()
    assert ["Content Credentials" in note for note in open_stored(signed).notes] == [True]


@pytest.mark.parametrize("kind", [None, "TIFF"])
def test_integers_without_a_known_white_are_refused(kind: str | None) -> None:
    image = Image.new("I", (3, 3), 70_000)
    with pytest.raises(BadImage, match="white is unknown"):
        open_image(encoded(image, kind) if kind else image)


def test_cmyk_jpeg_is_not_inverted() -> None:
    for kind, options in (("JPEG", {"quality": 100}), ("TIFF", {})):
        data = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), kind, **options)
        assert np.abs(np.asarray(open_image(data)).astype(int) - RED).max() <= 2


@pytest.mark.parametrize("mode", ["HSV", "YCbCr", "LAB"])
def test_other_colour_spaces_are_converted(mode: str) -> None:
    image = Image.fromarray(np.kron(np.array([[RED, (90, 120, 30)]], np.uint8), np.ones((4, 4, 1), np.uint8)))
    converted = image.convert(mode)
    assert largest_difference(open_image(converted), image) <= 6
    if mode == "LAB":
        assert largest_difference(open_image(encoded(converted, "TIFF")), image) <= 6


@pytest.mark.parametrize("mode", ["RGBa", "La", "PA", "RGBX"])
def test_rare_modes(mode: str) -> None:
    # A colour of the web palette, which older versions of Pillow convert to.
    original = Image.new("RGBA", (4, 4), (204, 204, 204, 255))
    converted = original.convert("LA").convert("La") if mode == "La" else original.convert(mode)
    opened = open_image(converted)
    assert opened.mode == ("RGB" if mode == "RGBX" else "RGBA")
    assert largest_difference(opened, original) <= 1


# ---- colour profiles -------------------------------------------------------------------------------------------------


def test_a_profile_is_converted_to_srgb() -> None:
    array = colours(40, 30)
    opened = open_image(encoded(Image.fromarray(array), "PNG", icc_profile=LINEAR))
    assert np.abs(np.asarray(opened) - from_linear(array)).max() <= 1.6
    assert "icc_profile" not in opened.info
    assert largest_difference(open_image(opened), opened) == 0


def test_a_profile_leaves_alpha_alone() -> None:
    array = colours(channels=4)
    opened = np.asarray(open_image(encoded(Image.fromarray(array), "PNG", icc_profile=LINEAR)))
    assert np.array_equal(opened[..., 3], array[..., 3])
    assert np.abs(opened[..., :3] - from_linear(array[..., :3])).max() <= 1.6


@pytest.mark.parametrize("profile", [LINEAR, GREY_LINEAR])
def test_grey_images_use_grey_and_colour_profiles(profile: bytes) -> None:
    array = colours(channels=1)[..., 0]
    deep = Image.fromarray(array.astype(np.uint16) * 257)
    for image in (Image.fromarray(array), deep, Image.fromarray(array).convert("LA")):
        opened = np.asarray(open_image(encoded(image, "PNG", icc_profile=profile)))
        assert np.abs(opened[..., :3] - from_linear(array)[..., None]).max() <= 1.6


@pytest.mark.parametrize("space", [b"RGB ", b"GRAY"])
def test_black_of_a_profile_is_black_at_every_depth(space: bytes) -> None:
    """Light that rises from 0.05 to 1 is, with its black at 0, that of a linear profile (ISO 18619)."""
    rising = b"curv\0\0\0\0" + struct.pack(">I2H", 2, 3277, 65535)
    curves = {b"GRAY": [b"kTRC"], b"RGB ": [b"rTRC", b"gTRC", b"bTRC"]}[space]
    primaries = {b"rXYZ": xyz(*SRGB_RED), b"gXYZ": xyz(*SRGB_GREEN), b"bXYZ": xyz(*SRGB_BLUE)}
    profile = icc(space, b"mntr", b"XYZ ", {b"wtpt": WHITE_POINT, **primaries, **dict.fromkeys(curves, rising)})
    array = np.arange(256, dtype=np.uint8)[None]
    for image in (Image.fromarray(array), Image.fromarray(array.astype(np.uint16) * 257)):
        opened = np.asarray(open_image(encoded(image, "PNG", icc_profile=profile)))
        assert np.abs(opened - from_linear(array)[..., None]).max() <= 1.6


def test_an_srgb_profile_changes_no_bit() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    array = colours(64, 64)
    assert np.array_equal(np.asarray(open_image(encoded(Image.fromarray(array), "PNG", icc_profile=profile))), array)


def test_a_wide_profile_moves_saturated_colours() -> None:
    wide = rgb_profile(2.2, (0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))
    opened = open_image(encoded(Image.new("RGB", (2, 2), (60, 200, 60)), "PNG", icc_profile=wide))
    red, green, blue = (int(level) for level in np.asarray(opened)[0, 0])
    assert (red, blue) < (60, 60)
    assert green >= 198


def test_profile_of_grey_is_used_for_deep_grey_with_alpha() -> None:
    levels = np.array([[20, 255], [120, 200]], np.uint8)
    rows = b"".join(b"\0" + b"".join(bytes([x, x, 255, 255]) for x in row) for row in levels)
    for profile, expected, notes in ((GREY_LINEAR, from_linear(levels), 2), (GREY_SRGB, levels, 0)):
        stored = open_stored(png(2, 2, 16, 4, rows, (b"iCCP", b"x\0\0" + zlib.compress(profile))))
        assert np.abs(np.asarray(stored.view())[..., 0] - expected).max() <= 1
        assert len(stored.notes) == notes


def test_a_cmyk_profile_is_used() -> None:
    data = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF", icc_profile=cmyk_profile())
    pixel = np.asarray(open_image(data))[0, 0].astype(int)
    assert np.ptp(pixel) <= 2
    assert 80 < pixel[0] < 160


def test_conversion_from_cmyk_is_exact_between_the_nodes_of_a_table() -> None:
    curve = bytes(round(255 * (level / 255) ** 0.3) for level in range(256))
    inks = np.zeros((1, 256, 4), np.uint8)
    inks[0, :, 3] = range(256)
    data = encoded(Image.frombytes("CMYK", (256, 1), inks.tobytes()), "TIFF", icc_profile=cmyk_profile(0, curve))
    root = (100 - np.frombuffer(curve, np.uint8) / 2.55 + 16) / 116  # of CIE lightness
    light = np.where(root > 6 / 29, root**3, 3 * (6 / 29) ** 2 * (root - 4 / 29))
    assert np.abs(np.asarray(open_image(data))[0] - from_linear(255 * light)[:, None]).max() <= 1


@pytest.mark.parametrize("profile", [b"no profile", LINEAR[:200], GREY_LINEAR, cmyk_profile()])
def test_a_broken_or_foreign_profile_is_ignored(profile: bytes) -> None:
    data = encoded(Image.fromarray(colours()), "PNG", icc_profile=profile)
    stored = open_stored(data)
    assert np.array_equal(stored.levels, colours())
    assert "it is left out" in stored.notes[0]


def test_image_in_lab_keeps_no_profile_without_a_word() -> None:
    image = Image.fromarray(colours()).convert("LAB")
    assert image.info["icc_profile"] and open_stored(image).notes == ()


def test_profile_whose_primaries_are_one_is_not_kept() -> None:
    red = (0.4361, 0.2225, 0.0139)
    stored = open_stored(encoded(Image.fromarray(colours()), "PNG", icc_profile=rgb_profile(2.2, red, red, red)))
    assert stored.icc is None
    assert len(stored.notes) == 1
    kept = rgb_profile(2.2, red, (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))
    stored = open_stored(encoded(Image.fromarray(colours()), "PNG", icc_profile=kept))
    assert (stored.icc, stored.notes) == (kept, ())


def table_profile() -> bytes:
    """An RGB profile of look-up tables that shows every colour as mid-grey."""
    ramp = bytes(range(256))
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1\0\0\0\0" + bytes((3, 3, 2, 0)) + matrix + ramp * 3 + bytes((128, 128, 128)) * 8 + ramp * 3
    return icc(b"RGB ", b"scnr", b"Lab ", {b"wtpt": WHITE_POINT, b"A2B0": table})


@pytest.mark.parametrize("depth", [8, 16])
def test_profile_of_tables_is_converted_and_named(depth: int) -> None:
    array = colours()
    deep = encode_deep_png(array.astype(np.uint16) * 257) if depth == 16 else encoded(Image.fromarray(array), "PNG")
    stored = open_stored(insert_png_chunks(deep, table_profile(), PngImagePlugin.PngInfo()))
    assert np.ptp(stored.levels.astype(int)) <= 2
    assert stored.icc is None
    assert "not kept" in stored.notes[0]
    assert len(stored.notes) == (2 if depth == 16 else 1)


def test_deep_grey_image_with_a_profile_keeps_its_depth() -> None:
    array = np.linspace(0, 65535, 400).reshape(20, 20).astype(np.uint16)
    stored = open_stored(encoded(Image.fromarray(array), "PNG", icc_profile=GREY_LINEAR))
    exact = np.where(array / 65535 <= 0.0031308, array * 12.92, (1.055 * (array / 65535) ** (1 / 2.4) - 0.055) * 65535)
    assert np.abs(stored.levels[..., 0] - exact).max() <= 1
    assert len(stored.notes) == 1


# ---- arrays and objects ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1), (5, 4, 3), (5, 4, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.dtype(">u2"), np.float16, np.float32, np.float64, np.bool_])
def test_arrays(shape: tuple[int, ...], dtype: Any) -> None:
    levels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    if dtype == np.bool_:
        levels = np.where(levels > 127, 255, 0).astype(np.uint8)
    white = {"b": 1, "f": 1, "u": 256 ** np.dtype(dtype).itemsize - 1}[np.dtype(dtype).kind]
    opened = open_image((levels / 255 * white).round(9).astype(dtype))
    assert opened.mode == ("RGBA" if shape[2:] == (4,) else "RGB")
    assert opened.size == (4, 5)
    expected = levels[..., None] if levels.ndim == 2 else levels
    assert np.array_equal(np.asarray(opened), np.broadcast_to(expected, np.asarray(opened).shape))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((3, 3), np.nan), "NaN"),
        (np.full((3, 3), np.inf), "infinite"),
        (np.full((3, 3, 3), 1.5), "rescale"),
        (np.full((3, 3, 3), -0.1), "rescale"),
        (np.zeros((3, 3, 2), np.uint8), "shape"),
        (np.zeros((1, 3, 3, 3), np.uint8), "shape"),
        (np.zeros(5, np.uint8), "shape"),
        (np.array(3, np.uint8), "shape"),
        (np.zeros((3, 3), np.int64), "dtype"),
        (np.zeros((3, 3), np.uint32), "dtype"),
        (np.zeros((3, 3), np.complex64), "dtype"),
        (np.array([["a"]], object), "dtype"),
        (np.zeros((0, 3, 3), np.uint8), "at least 1"),
        (np.zeros((3, 0), np.float32), "at least 1"),
    ],
)
def test_arrays_that_are_no_images_are_refused(array: NDArray[Any], words: str) -> None:
    with pytest.raises(BadImage, match=words) as caught:
        open_image(array, argument="first")
    assert str(caught.value).startswith("first (array of shape")


def test_the_result_is_new_and_clean() -> None:
    source = Image.new("RGB", (3, 2), RED)
    source.info["note"] = "private"
    opened = open_image(source)
    opened.putpixel((0, 0), BLUE)
    assert source.getpixel((0, 0)) == RED
    assert opened.info == {}
    array = np.zeros((2, 3, 3), np.uint8)
    opened = open_image(array)
    array[:] = 9
    assert opened.getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.parametrize("value", [None, 3, [[1, 2]], {}, object()])
def test_objects_of_other_types(value: Any) -> None:
    with pytest.raises(BadImage, match="pass a path"):
        open_image(value)


def test_an_image_of_one_pixel_is_opened() -> None:
    assert open_image(encoded(Image.new("RGB", (1, 1), RED), "PNG")).getpixel((0, 0)) == RED
    with pytest.raises(BadImage, match="at least 1"):
        open_image(Image.new("RGB", (0, 4)))


def test_memory_that_runs_out_is_named_with_what_an_edit_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.new("RGB", (4000, 1000), RED), "PNG")

    def fail(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(BadImage, match=r"4000 x 1000 pixels, too many for the memory.*GB.*scale it down"):
        open_image(data)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\xff\x0a" + bytes(20), "JPEG XL"),
        (b"8BPS" + bytes(30), "Photoshop"),
        (b"\n <svg>", "SVG"),
    ],
)
def test_kind_that_is_not_read_is_named(data: bytes, kind: str) -> None:
    with pytest.raises(BadImage, match=f"it is a {kind} file"):
        open_image(data)


@pytest.mark.parametrize("data", [b"\xff\xd8\xff\xc3" + bytes(40), b"II*\0\x08\0\0\0", b"\x89PNG\r\n\x1a\n\0"])
def test_file_that_begins_as_an_image_is_not_said_to_be_none(data: bytes) -> None:
    with pytest.raises(BadImage, match=r"it begins as a (JPEG|TIFF|PNG) file, and is damaged or of a kind"):
        open_image(data)


def test_png_of_an_ios_app_is_not_said_to_be_damaged() -> None:
    packed = png(2, 1, 8, 2, bytes(7))
    packed = packed[:8] + struct.pack(">I", 4) + b"CgBI" + bytes(8) + packed[8:]
    with pytest.raises(BadImage, match="it is a PNG of an iOS app"):
        open_image(packed)


def test_kind_of_bmp_that_is_not_read_is_not_said_to_be_damaged() -> None:
    header = struct.pack("<IiiHHIIiiII4I", 56, 1, 1, 1, 16, 3, 4, 0, 0, 0, 0, 0xF00, 0xF0, 0xF, 0xF000)
    with pytest.raises(BadImage, match=r"of a rare kind \(Unsupported BMP bitfields layout\); save it as PNG"):
        open_image(b"BM" + struct.pack("<IHHI", 74, 0, 0, 70) + header + bytes(4))


def test_zip_files_of_painting_programs_are_named() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("mimetype", "image/openraster")
    with pytest.raises(BadImage, match="it is a OpenRaster file"):
        open_image(buffer.getvalue())


# ---- refused input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_more_than_one_frame_is_refused_with_the_count(kind: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN, BLUE)]
    path = tmp_path / "moving"
    frames[0].save(path, kind, save_all=True, append_images=frames[1:])
    with Image.open(path) as opened:
        for source in (path, opened):
            with pytest.raises(BadImage, match="has 3 frames"):
                open_image(source)


@pytest.mark.parametrize(
    ("argument", "advice"),
    [
        ("image", "save one frame as PNG, or edit all frames with editkit.apply_to_animation"),
        ("mask", "save one frame as PNG (only the edit of an animation takes a mask of several frames)"),
        ("control_image", "save one frame as PNG"),
    ],
)
def test_the_advice_about_several_frames_fits_the_argument(argument: str, advice: str) -> None:
    data = encoded(Image.new("L", (4, 4)), "GIF", save_all=True, append_images=[Image.new("L", (4, 4), 255)])
    with pytest.raises(BadImage) as error:
        open_mask(data, (4, 4)) if argument == "mask" else open_image(data, argument=argument)
    assert str(error.value).endswith(f"; {advice}")


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_of_frames_or_with_a_crop_is_named() -> None:
    image = Image.new("RGB", (8, 6))
    moving = encoded(image, "AVIF", save_all=True, append_images=[Image.new("RGB", (8, 6), "white")], speed=10)
    with pytest.raises(BadImage, match=r"has 2 frames.*convert it to an animated WebP"):
        open_image(moving)
    still = encoded(image, "AVIF", speed=10)
    for width, is_named in ((4, True), (8, False)):
        crop = b"\0\0\0\x28clap" + struct.pack(">8I", width, 1, 6, 1, 0, 1, 0, 1)
        assert ["crop" in note for note in open_stored(still + b"\0\0\0\x30free" + crop).notes] == [True] * is_named


def test_the_photo_in_front_of_a_second_view_is_used() -> None:
    data = encoded(Image.new("RGB", (8, 8), RED), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8), BLUE)])
    assert largest_difference(open_image(data), Image.new("RGB", (8, 8), RED)) <= 2


def bomb() -> bytes:
    return png(100_000, 100_000, 8, 2, b"\0")


@pytest.mark.parametrize("size", [(100_000, 100_000), (8001, 8000), (10_000, 9_000)])
def test_too_many_pixels_are_refused_before_decoding(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    def decoded(self: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    with pytest.raises(BadImage, match="at most 64 million pixels"):
        open_image(png(*size, 8, 2, b"\0"))
    assert not recwarn.list


def test_the_limit_holds_for_arrays_and_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_PIXELS", 11)
    for source in (np.zeros((3, 4), np.uint8), Image.new("L", (4, 3))):
        with pytest.raises(BadImage, match="4 x 3 pixels, too many"):
            open_image(source)


def test_large_files_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sources, "MAX_BYTES", 10)
    path = tmp_path / "x.png"
    path.write_bytes(encoded(Image.new("L", (4, 3)), "PNG"))
    for source in (path, path.read_bytes(), io.BytesIO(path.read_bytes())):
        with pytest.raises(BadImage, match="MiB are allowed"):
            open_image(source)


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "no such file"),
    "folder": (lambda path: path.mkdir(), "it is a folder"),
    "pipe": (make_pipe, "pipe or a device"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "pipe or a device"),
    "empty": (lambda path: path.write_bytes(b""), "it is empty"),
    "text": (lambda path: path.write_text("hello"), "it is not an image, or of another kind than PNG, JPEG"),
    "other kind": (lambda path: Image.new("L", (3, 3)).save(path, "TGA"), "not an image"),
    "bomb": (lambda path: path.write_bytes(bomb()), "too many"),
    "no header": (lambda path: path.write_bytes(bomb()[:12]), "cannot be read"),
    "no data": (lambda path: path.write_bytes(png(4, 4, 8, 2, b"")), "damaged or cut short"),
    "no width": (lambda path: path.write_bytes(png(0, 4, 8, 2, b"")), ""),
    "link to itself": (lambda path: path.symlink_to(path), "cannot be read"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_give_one_line_with_argument_and_value(case: str, tmp_path: Path) -> None:
    make, words = BAD_FILES[case]
    path = tmp_path / "x.png"
    make(path)
    with pytest.raises(BadImage) as caught:
        open_image(path, argument="second image")
    message = str(caught.value)
    assert message.startswith(f"second image {str(path)!r} ")
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM"])
def test_damaged_files_raise_nothing_else(kind: str) -> None:
    data = encoded(Image.fromarray(colours(40, 30)), kind)
    generator = np.random.default_rng(2)
    with pytest.raises(BadImage):
        open_image(data[: len(data) * 2 // 3])
    for cut in range(0, len(data), max(1, len(data) // 40)):
        damaged = bytearray(data)
        damaged[cut] ^= int(generator.integers(1, 256))
        for source in (data[:cut], bytes(damaged)):
            try:
                assert open_image(source).mode in ("RGB", "RGBA")
            except EditkitError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 5000, "new\nline", "\udcff"])
def test_strange_paths(path: str) -> None:
    with pytest.raises(BadImage) as caught:
        open_image(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_file_objects_that_fail() -> None:
    closed = io.BytesIO(b"x")
    closed.close()
    text: Any = io.StringIO("text")
    for source, words in ((closed, "closed"), (text, "binary mode")):
        with pytest.raises(BadImage, match=words):
            open_image(source)


# ---- pixels, differences ---------------------------------------------------------------------------------------------


def test_transparent_pixels_are_composited_on_white() -> None:
    values = pixels(Image.new("RGBA", (2, 3), (255, 0, 0, 51)))
    assert values.shape == (3, 2, 3)
    assert values.dtype == np.float32
    assert np.allclose(values, [1.0, 0.8, 0.8], atol=1e-6)
    array = colours()
    assert np.array_equal(np.rint(pixels(Image.fromarray(array)) * 255), array)
    opaque = Image.fromarray(array).convert("RGBA")
    assert np.array_equal(pixels(opaque), pixels(Image.fromarray(array)))
    assert (pixels(Image.new("RGBA", (1, 1), (9, 9, 9, 0))) == 1).all()
    with pytest.raises(BadImage, match="mode RGB or RGBA"):
        pixels(Image.new("L", (1, 1)))


def test_largest_difference() -> None:
    first = Image.fromarray(colours())
    second = first.copy()
    assert largest_difference(first, second) == 0
    red, green, blue = colours()[2, 3].tolist()
    second.putpixel((3, 2), (red, green, (blue + 100) % 256))
    assert largest_difference(first, second) == abs(blue - (blue + 100) % 256) == largest_difference(second, first)
    mask = Image.new("L", first.size, 0)
    mask.putpixel((3, 2), 1)
    assert largest_difference(first, second, mask) == 0
    assert largest_difference(first, second, Image.new("L", first.size, 0)) > 0
    assert largest_difference(first, second, Image.new("L", first.size, 255)) == 0
    assert largest_difference(Image.new("RGB", (1, 1)), Image.new("RGB", (1, 1), "white")) == 255


def test_largest_difference_counts_alpha() -> None:
    opaque = Image.fromarray(colours())
    clear = opaque.copy()
    clear.putalpha(250)
    assert largest_difference(opaque, clear) == 5
    for arguments in ((opaque, Image.new("RGB", (7, 12))), (opaque, opaque, Image.new("L", (1, 1)))):
        with pytest.raises(InvalidParameter, match="must be 12 x 7"):
            largest_difference(*arguments)
