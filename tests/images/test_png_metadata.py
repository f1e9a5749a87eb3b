"""Laws of the recipe inside a PNG: it comes back with its images, and any damage is found."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from editkit.errors import BadFile, InvalidParameter
from editkit.images import png_metadata, sources
from editkit.images.png_metadata import encode_png
from editkit.images.reading import open_image
from editkit.images.recipes.reading import read_recipe
from editkit.images.writing import encode_image

RECIPE = '{"operation": "img2img", "prompt": "a gr\u00fcn \u82f9\u679c"}'


def noise(mode: str = "RGB", size: tuple[int, int] = (9, 6), seed: int = 0) -> Image.Image:
    shape = (size[1], size[0], len(mode)) if len(mode) > 1 else size[::-1]
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def identical(a: Image.Image, b: Image.Image) -> bool:
    return a.mode == b.mode and a.size == b.size and a.tobytes() == b.tobytes()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_chunks(*chunks: bytes) -> bytes:
    plain = encode_png(noise())
    return plain[:-12] + b"".join(chunks) + plain[-12:]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_recipe_and_attachments_come_back(mode: str, tmp_path: Path) -> None:
    image = noise(mode, seed=1)
    attached = {"source 1": noise("RGB", seed=2), "\u00fcber": noise("RGBA", seed=3), "mask": noise("L", seed=4)}
    data = encode_png(image, recipe=RECIPE, attachments=attached)
    path = tmp_path / "out.png"
    path.write_bytes(data)
    for source in (path, str(path), data, io.BytesIO(data)):
        recipe, images = read_recipe(source)
        assert recipe == RECIPE
        assert list(images) == list(attached)
        assert all(identical(images[name], attached[name]) for name in attached)
    assert identical(open_image(path), image)
    with Image.open(path) as opened:
        opened.load()
        assert opened.text == {"editkit": RECIPE}  # type: ignore[attr-defined]


def test_an_attachment_of_two_megabytes() -> None:
    large = noise(size=(900, 800))
    data = encode_png(noise(), recipe=RECIPE, attachments={"source": large})
    assert len(data) > 2_000_000
    assert identical(read_recipe(data)[1]["source"], large)
    assert identical(open_image(data), noise())


def test_without_a_recipe_the_png_is_plain() -> None:
    data = encode_png(noise())
    assert b"editkit" not in data
    with pytest.raises(BadFile, match="no editkit recipe"):
        read_recipe(data)


def test_metadata_of_the_image_is_not_written() -> None:
    image = noise()
    image.info.update(icc_profile=b"private", transparency=(1, 2, 3), dpi=(3, 3), comment="private")
    assert encode_png(image) == encode_png(noise())
    for ending in (".jpg", ".webp"):
        assert encode_image(image, ending) == encode_image(noise(), ending)


def test_encode_png_refuses_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    grey = noise("L")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"attachments": {"a": grey}}, "pass recipe too"),
        ({"recipe": "x" * (png_metadata.MAX_RECIPE_BYTES + 1)}, "at most 1000000"),
        ({"recipe": "\udcff"}, "Unicode"),
        ({"recipe": "{}", "attachments": {"": grey}}, "1 to 79 bytes"),
        ({"recipe": "{}", "attachments": {"a\0b": grey}}, "1 to 79 bytes"),
        ({"recipe": "{}", "attachments": {"x" * 80: grey}}, "1 to 79 bytes"),
        ({"recipe": "{}", "attachments": {"a": noise().convert("CMYK")}}, "mode CMYK"),
        ({"recipe": "{}", "attachments": {str(number): grey for number in range(65)}}, "at most 64"),
    ]
    for arguments, words in cases:
        with pytest.raises(InvalidParameter, match=words):
            encode_png(noise(), **arguments)
    monkeypatch.setattr(png_metadata, "MAX_BYTES", 100)
    with pytest.raises(InvalidParameter, match="save without the recipe"):
        encode_png(noise())


def test_any_damage_is_found() -> None:
    data = encode_png(noise(size=(3, 2)), recipe=RECIPE, attachments={"source": noise("RGB", seed=5, size=(3, 2))})
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x21
        with pytest.raises(BadFile) as caught:
            read_recipe(bytes(damaged))
        assert "\n" not in str(caught.value)
        with pytest.raises(BadFile):
            read_recipe(data[:position])


def test_a_wrong_checksum_is_named() -> None:
    data = bytearray(encode_png(noise(), recipe=RECIPE))
    data[data.index(b"operation")] ^= 1
    with pytest.raises(BadFile, match=r"iTXt.*wrong checksum"):
        read_recipe(bytes(data))


def itxt(text: bytes) -> bytes:
    return chunk(b"iTXt", b"editkit\0\0\0\0\0" + text)


def attachment(name: bytes, image: bytes) -> bytes:
    return chunk(b"ekAT", name + b"\0" + image)


PLAIN = encode_png(noise())
BAD_CHUNKS: dict[str, tuple[list[bytes], str]] = {
    "two recipes": ([itxt(b"{}"), itxt(b"{}")], "2 editkit recipes"),
    "no text": ([itxt(b"\xff")], "did not write"),
    "compressed": ([chunk(b"iTXt", b"editkit\0\1\0\0\0" + zlib.compress(b"{}"))], "did not write"),
    "long": ([itxt(b"x" * (png_metadata.MAX_RECIPE_BYTES + 1))], "did not write"),
    "cut header": ([chunk(b"iTXt", b"editkit\0")], "did not write"),
    "another keyword": ([chunk(b"iTXt", b"editkit2\0\0\0\0\0{}")], "no editkit recipe"),
    "two of a name": ([itxt(b"{}"), attachment(b"a", PLAIN), attachment(b"a", PLAIN)], "two images"),
    "too many": ([itxt(b"{}"), *(attachment(bytes([n]), PLAIN) for n in range(33, 99))], "at most 64"),
    "no name": ([itxt(b"{}"), attachment(b"", PLAIN)], "cannot be used"),
    "name is no text": ([itxt(b"{}"), attachment(b"\xff", PLAIN)], "cannot be used"),
    "no image": ([itxt(b"{}"), attachment(b"a", b"hello")], "cannot be used"),
    "nothing": ([itxt(b"{}"), chunk(b"ekAT", b"")], "cannot be used"),
    "another kind": ([itxt(b"{}"), attachment(b"a", encode_image(noise(), ".jpg"))], "cannot be used"),
    "cut image": ([itxt(b"{}"), attachment(b"a", PLAIN[:60])], "cannot be used"),
    "cut signature": ([itxt(b"{}"), attachment(b"a", PLAIN[:8])], "cannot be used"),
}


@pytest.mark.parametrize("case", BAD_CHUNKS)
def test_hostile_chunks_are_one_clear_error(case: str) -> None:
    chunks, words = BAD_CHUNKS[case]
    with pytest.raises(BadFile, match=words) as caught:
        read_recipe(with_chunks(*chunks))
    assert "\n" not in str(caught.value)


def test_the_pixel_limit_holds_for_attachments(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode_png(noise(), recipe=RECIPE, attachments={"source": noise(size=(20, 20))})
    monkeypatch.setattr(sources, "MAX_PIXELS", 100)
    with pytest.raises(BadFile, match="20 x 20 pixels, too many"):
        read_recipe(data)


def test_the_pixels_of_all_attachments_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    attached = {name: noise(size=(10, 10)) for name in "abc"}
    data = encode_png(noise(), recipe=RECIPE, attachments=attached)
    monkeypatch.setattr(png_metadata, "MAX_ATTACHED_PIXELS", 299)
    with pytest.raises(BadFile, match="too many attached"):
        read_recipe(data)
    with pytest.raises(InvalidParameter, match="3 images, too many"):
        encode_png(noise(), recipe=RECIPE, attachments=attached)


def test_files_without_a_recipe(tmp_path: Path) -> None:
    jpeg, text = tmp_path / "a.jpg", tmp_path / "a.png"
    jpeg.write_bytes(encode_image(noise(), ".jpg"))
    text.write_text("hello")
    cases = ((jpeg, "no editkit recipe"), (text, "not an image"), (tmp_path, "folder"), (tmp_path / "b", "no such"))
    for path, words in cases:
        with pytest.raises(BadFile, match=words) as caught:
            read_recipe(path)
        assert str(caught.value).startswith(f"recipe {str(path)!r} ")
