"""Laws of image encoding: the formats by suffix, transparency and sizes."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from editkit.errors import InvalidParameter
from editkit.images.metrics import largest_difference
from editkit.images.reading import open_image
from editkit.images.recipes.reading import read_recipe
from editkit.images.writing import IMAGE_SUFFIXES, encode_image

RECIPE = '{"operation": "img2img", "prompt": "a gr\u00fcn \u82f9\u679c"}'


def noise(mode: str = "RGB", size: tuple[int, int] = (9, 6), seed: int = 0) -> Image.Image:
    shape = (size[1], size[0], len(mode)) if len(mode) > 1 else size[::-1]
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def identical(a: Image.Image, b: Image.Image) -> bool:
    return a.mode == b.mode and a.size == b.size and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("ending", ["", ".png", ".PNG", ".webp"])
def test_lossless_endings(ending: str, mode: str) -> None:
    image = noise(mode)
    if mode == "RGBA":
        image.putpixel((0, 0), (9, 8, 7, 0))
    assert identical(open_image(encode_image(image, ending)), image)


def test_png_endings_carry_the_recipe() -> None:
    for ending in ("", ".png"):
        data = encode_image(noise(), ending, recipe=RECIPE, attachments={"mask": noise("L")})
        assert read_recipe(data)[0] == RECIPE


@pytest.mark.parametrize("ending", [".jpg", ".jpeg", ".JPG"])
def test_jpeg_shows_transparency_on_white(ending: str) -> None:
    data = encode_image(Image.new("RGBA", (16, 16), (255, 0, 0, 51)), ending)
    assert largest_difference(open_image(data), Image.new("RGB", (16, 16), (255, 204, 204))) <= 2
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.format == "JPEG"
        assert [layer[1:3] for layer in opened.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("ending", [".gif", ".bmp", "png", ".", ".png "])
def test_other_endings_are_refused(ending: str) -> None:
    with pytest.raises(InvalidParameter, match=r"must end in one of \.png, \.jpg, \.jpeg, \.webp"):
        encode_image(noise(), ending)


@pytest.mark.parametrize("ending", IMAGE_SUFFIXES)
def test_texts_of_exif_keep_their_bytes(ending: str) -> None:
    exif, owner, lens, source = Image.Exif(), "\u00a9 J\u00fcrgen \u82f9".encode(), b"Plan\xe4r 50", io.BytesIO()
    exif[ExifTags.Base.Copyright] = owner
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.LensModel] = "Plan?r 50"
    stored = exif.tobytes().replace(b"Plan?r 50", lens)
    noise().save(source, "JPEG", exif=stored)
    data = encode_image(open_image(source.getvalue()), ending)
    assert owner + b"\0" in data
    assert lens + b"\0" in data
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.getexif()[ExifTags.Base.Copyright] == owner.decode("latin-1")


def test_copyright_in_iptc_alone_becomes_that_of_exif() -> None:
    texts = {116: b"(c) Ann", 80: "J\u00fcrgen".encode(), 105: b"HEADLINE"}
    records = b"".join(b"\x1c\2" + bytes([number]) + struct.pack(">H", len(one)) + one for number, one in texts.items())
    resources = b"Photoshop 3.0\0" + b"8BIM\4\4\0\0" + struct.pack(">I", len(records)) + records
    segment = b"\xff\xed" + struct.pack(">H", len(resources) + 2) + resources
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.Artist] = "of EXIF"
    noise().save(buffer, "JPEG", exif=exif)
    data = encode_image(open_image(buffer.getvalue()[:2] + segment + buffer.getvalue()[2:]), ".png")
    with Image.open(io.BytesIO(data)) as opened:
        kept = opened.getexif()
    assert kept[ExifTags.Base.Copyright] == "(c) Ann"
    assert kept[ExifTags.Base.Artist] == "of EXIF"
    assert b"HEADLINE" not in data


def test_xmp_that_imagemagick_wrote_to_a_png_is_read() -> None:
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" dc:rights="Ann"/></rdf:RDF></x:xmpmeta>'
    )
    for digits, is_kept in ((packet.hex(), True), (packet.hex()[:-1], False)):
        chunks, source = PngInfo(), io.BytesIO()
        chunks.add_text("Raw profile type xmp", f"\nxmp\n{len(packet):8}\n{digits[:72]}\n{digits[72:]}\n", zip=True)
        noise().save(source, "PNG", pnginfo=chunks)
        assert (b'rights="Ann"' in encode_image(open_image(source.getvalue()), ".png")) is is_kept


def test_sizes_that_a_format_cannot_hold() -> None:
    for ending, width in ((".webp", 16384), (".jpg", 65536)):
        with pytest.raises(InvalidParameter, match=r"do not fit that format; use \.png"):
            encode_image(Image.new("RGB", (width, 1)), ending)
