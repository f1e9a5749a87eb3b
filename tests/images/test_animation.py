"""Laws of animated files: frames and times survive, limits come before decoding, flicker is measured."""

from __future__ import annotations

import dataclasses as dc
import io
import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import GifImagePlugin, Image

from editkit.errors import BadImage, InvalidParameter
from editkit.images.animation.encoding import encode_animation, round_durations
from editkit.images.animation.flicker import measure_flicker
from editkit.images.animation.frames import MAX_FRAMES, Animation
from editkit.images.animation.gif import count_gif_frames
from editkit.images.animation.reading import animation_suffix, open_animation, reopen
from editkit.images.reading import open_image
from editkit.images.stored.deep import png_chunk
from editkit.images.stored.encoding import Encoding


def frames(mode: str = "RGB", count: int = 3, size: tuple[int, int] = (9, 6), colours: int = 256) -> list[Image.Image]:
    random = np.random.default_rng(0)
    table = random.integers(0, 256, (colours, 3), dtype=np.uint8)
    made = [table[random.integers(0, colours, size[::-1])] for _ in range(count)]
    if mode == "RGBA":
        made = [np.dstack([one, 255 * random.integers(0, 2, size[::-1]).astype(np.uint8)]) for one in made]
    return [Image.fromarray(one) for one in made]


def shown(image: Image.Image) -> np.ndarray:
    """Pixels (H, W, 4) with clear ones black, as no viewer shows their colour."""
    levels = np.asarray(image.convert("RGBA"))
    return np.where(levels[..., 3:] == 0, 0, levels)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".APNG"])
def test_frames_times_and_plays_survive(suffix: str, mode: str) -> None:
    # GIF holds 255 colours beside a clear one.
    source = dc.replace(Animation.of(frames(mode, colours=200)), durations=(70.0, 130.0, 40.0), plays=3)
    opened = open_animation(encode_animation(source, suffix))
    assert opened.durations == source.durations
    assert (opened.plays, opened.suffix) == (3, ".png" if suffix == ".APNG" else suffix)
    for before, after in zip(source.frames, opened.frames, strict=True):
        assert np.array_equal(shown(before), shown(after))
        assert after.mode == mode  # a replay takes a lossless copy in another format


@pytest.mark.parametrize("plays", [0, 1, 2])
@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_the_number_of_plays_survives(suffix: str, plays: int) -> None:
    source = dc.replace(Animation.of(frames()), plays=plays)
    assert open_animation(encode_animation(source, suffix)).plays == plays


def test_a_gif_of_many_colours_is_near_and_still_where_the_source_is() -> None:
    moving = frames(count=4, size=(40, 30), colours=2000)
    still = np.asarray(moving[0])[:15]
    together = [Image.fromarray(np.concatenate([still, np.asarray(one)[15:]])) for one in moving]
    opened = open_animation(encode_animation(Animation.of(together), ".gif"))
    pixels = [np.asarray(frame.convert("RGB"), np.int16) for frame in opened.frames]
    for before, after in zip(together, pixels, strict=True):
        assert np.abs(np.asarray(before, np.int16) - after).mean() <= 16
        assert np.array_equal(after[:15], pixels[0][:15])


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_equal_neighbours_are_matched_by_their_time(suffix: str) -> None:
    first, second, third = frames(colours=200)
    source = Animation.of([first, first, second, third, third, third], milliseconds=50)
    opened = reopen(encode_animation(source, suffix))
    assert sum(opened.durations) == 300
    for before, after in zip(source.frames, opened.matched_to(source), strict=True):
        assert np.array_equal(shown(before), shown(after))
    still = Animation.of([first] * 3)
    assert len(reopen(encode_animation(still, suffix)).matched_to(still)) == 3


def test_rounded_times_keep_their_sum() -> None:
    assert sum(round_durations([1000 / 24] * 24, 10.0)) == 1000
    assert set(round_durations([1000 / 24] * 24, 10.0)) == {40, 50}


def test_the_default_image_of_an_apng_is_no_frame() -> None:
    buffer, (hidden, first, second) = io.BytesIO(), frames()
    hidden.save(buffer, "PNG", save_all=True, default_image=True, append_images=[first, second], duration=90)
    opened = open_animation(buffer.getvalue())
    assert len(opened) == 2
    assert np.array_equal(np.asarray(opened.frames[0].convert("RGB")), np.asarray(first))


KEEP, CLEAR, RESTORE = range(3)
"""Disposals of an APNG; those of a GIF are one more."""


def area(height: int, width: int, *colour: int) -> NDArray[np.uint8]:
    return np.full((height, width, len(colour)), colour, np.uint8)


def apng(size: tuple[int, int], *parts: tuple[NDArray[np.uint8], tuple[int, int], int, int]) -> bytes:
    """An APNG of parts (levels, corner, disposal, blend) of RGBA."""
    header = struct.pack(">2I5B", *size, 8, 6, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"acTL", struct.pack(">2I", len(parts), 0))
    for number, (levels, corner, disposal, blend) in enumerate(parts):
        control = struct.pack(">5I2H2B", number, *levels.shape[1::-1], *corner, 1, 10, disposal, blend)
        rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in levels))
        pixels = png_chunk(b"fdAT", bytes(4) + rows) if number else png_chunk(b"IDAT", rows)
        data += png_chunk(b"fcTL", control) + pixels
    return data + png_chunk(b"IEND", b"")


def gif(size: tuple[int, int], *parts: tuple[tuple[int, int, int], tuple[int, int, int, int], int]) -> bytes:
    """A GIF of parts (colour, box, disposal), each with a palette of its own and without a transparent colour."""
    data = b"GIF89a" + struct.pack("<2H", *size) + b"\0\0\0"
    for colour, (left, top, right, bottom), disposal in parts:
        image = Image.new("P", (right - left, bottom - top))
        image.putpalette([*colour, *colour])
        control = {"duration": 100, "disposal": disposal + 1, "include_color_table": True}
        data += b"".join(GifImagePlugin.getdata(image, (left, top), **control))
    return data + b";"


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def test_frame_that_restores_what_was_before_does_not_stay() -> None:
    base, dot, end = area(4, 6, *RED, 255), area(2, 2, *GREEN, 255), area(1, 1, *BLUE, 255)
    data = apng((6, 4), (base, (0, 0), KEEP, 0), (dot, (1, 1), RESTORE, 1), (end, (5, 3), KEEP, 1))
    shown = [np.asarray(frame) for frame in open_animation(data).frames]
    assert (shown[1][1:3, 1:3] == GREEN).all()
    assert (shown[2].reshape(-1, 3)[:-1] == RED).all()
    assert (shown[2][3, 5] == BLUE).all()


def test_frames_are_blended_by_the_alpha_of_both() -> None:
    half, clear = area(2, 2, *RED, 128), area(2, 2, *BLUE, 128)
    data = apng((2, 2), (half, (0, 0), KEEP, 0), (clear, (0, 0), KEEP, 1), (half, (0, 0), RESTORE, 0))
    _, mixed, replaced = (np.asarray(frame)[0, 0].tolist() for frame in open_animation(data).frames)
    assert mixed == [85, 0, 170, 192]
    assert replaced == [255, 0, 0, 128]


def test_what_no_frame_of_a_gif_covers_is_transparent() -> None:
    data = gif((6, 4), (RED, (1, 1, 3, 3), CLEAR), (GREEN, (2, 1, 4, 3), KEEP), (BLUE, (5, 3, 6, 4), KEEP))
    alphas = [np.asarray(frame)[..., 3] for frame in open_animation(data).frames]
    assert [np.argwhere(alpha == 255).tolist() for alpha in alphas] == [
        [[1, 1], [1, 2], [2, 1], [2, 2]],
        [[1, 2], [1, 3], [2, 2], [2, 3]],
        [[1, 2], [1, 3], [2, 2], [2, 3], [3, 5]],
    ]
    still = np.asarray(open_image(gif((6, 4), (RED, (1, 1, 3, 3), KEEP))))
    assert np.array_equal(still[..., 3], alphas[0])
    assert (still[1, 1, :3] == RED).all()
    assert open_image(gif((2, 2), (RED, (0, 0, 2, 2), KEEP))).mode == "RGB"


def test_the_first_frame_of_a_gif_restores_nothing() -> None:
    data = gif((2, 1), (RED, (0, 0, 2, 1), RESTORE), (GREEN, (0, 0, 1, 1), RESTORE), (BLUE, (1, 0, 2, 1), KEEP))
    shown = [np.asarray(frame)[0].tolist() for frame in open_animation(data).frames]
    assert shown == [[[*RED, 255]] * 2, [[*GREEN, 255], [0] * 4], [[0] * 4, [*BLUE, 255]]]


def test_frames_are_counted_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    many = [Image.new("L", (1, 1), number % 251) for number in range(MAX_FRAMES + 1)]
    many[0].save(buffer, "GIF", save_all=True, append_images=many[1:])
    data = buffer.getvalue()
    assert count_gif_frames(data, 10**6) == MAX_FRAMES + 1
    assert count_gif_frames(data[: len(data) // 2], 10**6) < MAX_FRAMES
    monkeypatch.setattr("editkit.images.animation.reading.decode", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(BadImage, match=f"more than {MAX_FRAMES} frames"):
        open_animation(data)
    monkeypatch.setattr("editkit.images.animation.frames.MAX_ANIMATION_PIXELS", 100)
    for suffix in (".gif", ".webp", ".png"):
        data = encode_animation(Animation(tuple(frames()), (100.0,) * 3), suffix)
        with pytest.raises(BadImage, match="3 frames of 9 x 6 pixels, too many"):
            open_animation(data)


def test_a_frame_larger_than_the_header_is_refused_undecoded() -> None:
    before, last, after = encode_animation(Animation.of(frames(colours=200)), ".gif").rpartition(
        b"\x2c" + struct.pack("<4H", 0, 0, 9, 6)
    )
    with pytest.raises(BadImage, match="frames of 9 x 6 and 9000 x 6000 pixels"):
        open_animation(before + last[:5] + struct.pack("<2H", 9000, 6000) + after)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_animations_that_are_cut_short_raise_nothing_else(suffix: str) -> None:
    data, opened = encode_animation(Animation.of(frames(colours=200)), suffix), 0
    for length in range(1, len(data), 17):
        try:
            opened += len(open_animation(data[:length])) == 3
        except BadImage as error:
            assert "\n" not in str(error)
    assert opened <= 2  # cut behind the pixels


def test_what_is_no_animation_is_refused() -> None:
    still, buffer = frames()[0], io.BytesIO()
    still.save(buffer, "PNG")
    for data in (buffer.getvalue(), b"text", b"GIF89a"):
        assert animation_suffix(data) is None
        with pytest.raises(BadImage, match="is no animation"):
            open_animation(data)
    data = encode_animation(Animation.of(frames(size=(64, 64))), ".png")
    with pytest.raises(BadImage, match="damaged or cut short"):
        open_animation(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("suffix", "size", "encoding", "words"),
    [
        (".jpg", (9, 6), Encoding(), "must end in one of .gif"),
        (".gif", (9, 6), Encoding(quality=9), "quality=9 has no effect"),
        (".png", (9, 6), Encoding(recipe="full"), "recipe='full' embeds"),
        (".webp", (16384, 1), Encoding(), "do not fit"),
        (".gif", (65536, 1), Encoding(), "do not fit"),
    ],
)
def test_what_no_animation_holds_is_refused(suffix: str, size: tuple[int, int], encoding: Encoding, words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        encode_animation(Animation((Image.new("RGB", size),) * 2, (100.0,) * 2), suffix, encoding=encoding)


def test_frames_that_are_no_animation_are_refused() -> None:
    for images in ([], [Image.new("RGB", (3, 3)), Image.new("RGB", (4, 3))]):
        with pytest.raises(InvalidParameter, match="one or more images of one size"):
            Animation.of(images)


def test_flicker_is_what_motion_does_not_explain() -> None:
    rows, columns = np.mgrid[:64, :80]
    texture = (128 + 60 * np.sin(rows / 3) * np.sin(columns / 4)).astype(np.uint8)
    moved = [np.dstack([texture[:, start : start + 64]] * 3) for start in (0, 1, 2, 3)]
    source = [Image.fromarray(one) for one in moved]
    brighter = [Image.fromarray(one + np.uint8(10 * (number % 2))) for number, one in enumerate(moved)]
    still, blinking, frozen = measure_flicker(source, source, brighter, [source[0]] * 4)
    assert still < 1
    assert blinking == pytest.approx(10, abs=1)
    assert frozen > 3
    assert measure_flicker(source[:1], source[:1]) == (0.0,)
    tiny = [Image.new("RGB", (1, 1), (level,) * 3) for level in (0, 30)]
    assert measure_flicker(tiny, tiny) == (30.0,)
