"""Laws of outputs: whole or not at all, and a PNG gives back its recipe and its attached images."""

from __future__ import annotations

import errno
import io
import os
import stat
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from editkit.errors import BadFile, EditkitError, InvalidParameter
from editkit.files import check_output, write_atomically
from editkit.images import png_metadata, sources
from editkit.images.conversion import pixels
from editkit.images.metrics import largest_difference
from editkit.images.png_metadata import encode_png, read_recipe
from editkit.images.reading import open_image
from editkit.images.writing import encode_frames, encode_image

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


# ---- writing ---------------------------------------------------------------------------------------------------------


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    for data in (b"first", b"second, longer", b""):
        write_atomically(path, data)
        assert path.read_bytes() == data
        assert list(tmp_path.iterdir()) == [path]
    write_atomically(str(tmp_path / "other"), b"x")
    assert (tmp_path / "other").read_bytes() == b"x"


def test_the_name_alone_means_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_atomically("out.png", b"x")
    assert (tmp_path / "out.png").read_bytes() == b"x"


def test_permissions_follow_the_umask_or_the_replaced_file(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    before = os.umask(0o027)
    try:
        write_atomically(path, b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o604)
    write_atomically(path, b"y")
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "a.png", tmp_path / "b.png"
    link.symlink_to(target)
    for data in (b"new", b"old"):
        write_atomically(link, data)
        assert link.is_symlink()
        assert target.read_bytes() == data
    assert list((tmp_path / "real").iterdir()) == [target]


@pytest.mark.parametrize("name", ["replace", "fsync", "open"])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), EditkitError),
        (PermissionError(errno.EACCES, "Permission denied"), InvalidParameter),
        (OSError(errno.EROFS, "Read-only file system"), InvalidParameter),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_failure_leaves_the_old_file_and_nothing_else(
    name: str, error: BaseException, kind: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.png"
    path.write_bytes(b"old")

    def fail(*arguments: object, **named: object) -> None:
        raise error

    monkeypatch.setattr(f"editkit.files.os.{name}", fail)
    with pytest.raises(kind) as caught:
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    if isinstance(caught.value, EditkitError):
        assert type(caught.value) is kind
        assert str(caught.value).startswith(f"output {str(path)!r} cannot be written: ")
        assert "\n" not in str(caught.value)


def test_bad_targets_are_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.iterdir())
    cases: dict[str | Path, str] = {
        tmp_path / "missing" / "x.png": "no such folder",
        tmp_path / "file" / "x.png": "not a folder",
        tmp_path / "folder": "it is a folder",
        f"{tmp_path}/new/": "it is a folder",
        "": "it is a folder",
        tmp_path / "pipe": "a pipe or a device",
        "/dev/null": "a pipe or a device",
        tmp_path / ("x" * 300): "too long",
        f"{tmp_path}/a\0b": "not allowed",
    }
    for path, words in cases.items():
        with pytest.raises(InvalidParameter, match=words) as caught:
            write_atomically(path, b"new", argument="--sheet")
        assert str(caught.value).startswith(f"--sheet {str(path)!r} cannot be written")
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "file").read_bytes() == b"old"
    assert check_output(tmp_path / "file") == tmp_path / "file"


def test_a_folder_or_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "locked.png"
    path.write_bytes(b"old")
    # Simulated, since root may write everywhere.
    for locked in (tmp_path, path):
        monkeypatch.setattr("editkit.files.os.access", lambda asked, mode, locked=locked: asked != locked)
        with pytest.raises(InvalidParameter, match="permission is denied"):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


# ---- recipes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_recipe_and_attachments_come_back(mode: str, tmp_path: Path) -> None:
    image = noise(mode, seed=1)
    attached = {"source 1": noise("RGB", seed=2), "\u00fcber": noise("RGBA", seed=3), "mask": noise("L", seed=4)}
    data = encode_png(image, recipe=RECIPE, attachments=attached)
    path = tmp_path / "out.png"
    path.write_bytes(data)
    for source in (path, str(path), data, io.BytesIO(data)):
        recipe, pictures = read_recipe(source)
        assert recipe == RECIPE
        assert list(pictures) == list(attached)
        assert all(identical(pictures[name], attached[name]) for name in attached)
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


def attachment(name: bytes, picture: bytes) -> bytes:
    return chunk(b"ekAT", name + b"\0" + picture)


PLAIN = encode_png(noise())
BAD_CHUNKS: dict[str, tuple[list[bytes], str]] = {
    "two recipes": ([itxt(b"{}"), itxt(b"{}")], "2 editkit recipes"),
    "no text": ([itxt(b"\xff")], "did not write"),
    "compressed": ([chunk(b"iTXt", b"editkit\0\1\0\0\0" + zlib.compress(b"{}"))], "did not write"),
    "long": ([itxt(b"x" * (png_metadata.MAX_RECIPE_BYTES + 1))], "did not write"),
    "cut header": ([chunk(b"iTXt", b"editkit\0")], "did not write"),
    "another keyword": ([chunk(b"iTXt", b"editkit2\0\0\0\0\0{}")], "no editkit recipe"),
    "two of a name": ([itxt(b"{}"), attachment(b"a", PLAIN), attachment(b"a", PLAIN)], "two pictures"),
    "too many": ([itxt(b"{}"), *(attachment(bytes([n]), PLAIN) for n in range(33, 99))], "at most 64"),
    "no name": ([itxt(b"{}"), attachment(b"", PLAIN)], "cannot be used"),
    "name is no text": ([itxt(b"{}"), attachment(b"\xff", PLAIN)], "cannot be used"),
    "no picture": ([itxt(b"{}"), attachment(b"a", b"hello")], "cannot be used"),
    "nothing": ([itxt(b"{}"), chunk(b"ekAT", b"")], "cannot be used"),
    "another kind": ([itxt(b"{}"), attachment(b"a", encode_image(noise(), ".jpg"))], "cannot be used"),
    "cut picture": ([itxt(b"{}"), attachment(b"a", PLAIN[:60])], "cannot be used"),
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
    with pytest.raises(InvalidParameter, match="3 pictures, too many"):
        encode_png(noise(), recipe=RECIPE, attachments=attached)


def test_files_that_are_no_png(tmp_path: Path) -> None:
    jpeg, text = tmp_path / "a.jpg", tmp_path / "a.png"
    jpeg.write_bytes(encode_image(noise(), ".jpg"))
    text.write_text("hello")
    for path, words in ((jpeg, "not a PNG"), (text, "not a PNG"), (tmp_path, "folder"), (tmp_path / "b", "no such")):
        with pytest.raises(BadFile, match=words) as caught:
            read_recipe(path)
        assert str(caught.value).startswith(f"recipe {str(path)!r} ")


# ---- other formats ---------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("ending", [".gif", ".tiff", "png", ".", ".png "])
def test_other_endings_are_refused(ending: str) -> None:
    with pytest.raises(InvalidParameter, match=r"must end in one of \.png, \.jpg, \.jpeg, \.webp"):
        encode_image(noise(), ending)


def test_sizes_that_a_format_cannot_hold() -> None:
    for ending, width in ((".webp", 16384), (".jpg", 65536)):
        with pytest.raises(InvalidParameter, match=r"do not fit that format; use \.png"):
            encode_image(Image.new("RGB", (width, 1)), ending)


@pytest.mark.parametrize("ending", [".gif", ".webp", ".WEBP"])
def test_frames_become_an_animation(ending: str) -> None:
    frames = [noise("RGBA", seed=seed) for seed in range(3)]
    with Image.open(io.BytesIO(encode_frames(frames, ending, milliseconds=70))) as moving:
        assert moving.n_frames == 3  # type: ignore[attr-defined]
        assert moving.info["loop"] == 0
        for index, frame in enumerate(frames):
            moving.seek(index)
            # WebP drops the colour under full transparency; GIF has a palette.
            if ending != ".gif":
                assert np.allclose(pixels(moving.convert("RGBA")), pixels(frame), atol=0)
        assert moving.info["duration"] == 70


def test_frames_that_are_no_animation() -> None:
    frame = noise()
    for frames, ending, words in (
        ([], ".gif", "one or more"),
        ([frame, noise(size=(3, 3))], ".gif", "one size"),
        ([frame], ".png", r"must end in \.gif or \.webp"),
        ([Image.new("RGB", (16384, 1))] * 2, ".webp", "do not fit"),
        ([Image.new("RGB", (65536, 1))] * 2, ".gif", "do not fit"),
    ):
        with pytest.raises(InvalidParameter, match=words):
            encode_frames(frames, ending)
