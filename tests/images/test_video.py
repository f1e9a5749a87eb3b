"""Laws of MP4 files: frames and times survive as far as H.264 holds them, and audio is copied."""

from __future__ import annotations

import dataclasses as dc
import io
import struct
import sys
import types
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from editkit.errors import BadImage, InvalidParameter
from editkit.images.animation import video
from editkit.images.animation.encoding import check_encoding, encode_animation, losses
from editkit.images.animation.frames import Animation
from editkit.images.animation.reading import animation_suffix, open_animation
from editkit.images.recipes.reading import read_recipe
from editkit.images.recipes.stripping import strip_recipe
from editkit.images.stored.encoding import DEFAULT, Encoding

try:
    import av
except ImportError:
    av = None

needs_av = pytest.mark.skipif(av is None, reason="PyAV is not installed")
TIMES = (1000 / 24, 55.0, 1000 / 30, 70.0)


def clip() -> Animation:
    """Smooth frames, of which H.264 loses little."""
    rows, columns = np.mgrid[:48, :64]
    waves = [128 + 90 * np.sin(rows / 9 + number) * np.cos(columns / 11) for number in range(len(TIMES))]
    frames = [Image.fromarray(np.dstack([wave, 255 - wave, wave / 2]).astype(np.uint8)) for wave in waves]
    return dc.replace(Animation.of(frames), durations=TIMES, plays=1)


def with_audio(data: bytes, rotation: int = 0) -> bytes:
    """Return a video with a track of audio, and a display rotation."""
    buffer = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(buffer, "w", format="mp4") as target:
        images, sound = target.add_stream_from_template(source.streams.video[0]), target.add_stream("aac", rate=44100)
        if rotation:
            images.set_display_rotation(rotation)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = images
                target.mux(packet)
        wave = np.sin(np.arange(8192) / 9).astype(np.float32)[None]
        for start in range(0, 8192, 1024):
            frame = av.AudioFrame.from_ndarray(wave[:, start : start + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, start
            target.mux(sound.encode(frame))
        target.mux(sound.encode(None))
    return buffer.getvalue()


def audio_of(data: bytes) -> list[tuple[Any, ...]]:
    with av.open(io.BytesIO(data)) as container:
        return [(packet.pts, packet.time_base, bytes(packet)) for packet in container.demux(audio=0) if packet.size]


def mean_difference(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).mean())


@needs_av
def test_frames_and_times_survive() -> None:
    source = clip()
    opened = open_animation(encode_animation(source, ".mp4"))
    assert (opened.suffix, opened.plays) == (".mp4", 1)
    # A tick is 1/90000 s, and the last frame has its time from the length of the stream.
    assert opened.durations == pytest.approx(TIMES, abs=0.1)
    for before, after in zip(source.frames, opened.frames, strict=True):
        assert mean_difference(before, after) <= 3
    small = encode_animation(source, ".mp4", encoding=Encoding(quality=10))
    assert len(small) < len(encode_animation(source, ".mp4"))


@needs_av
def test_audio_is_copied_and_start_and_colours_are_kept() -> None:
    data = with_audio(encode_animation(clip(), ".mp4"))
    source = open_animation(data)
    assert source.video is not None and source.video.has_audio
    again = encode_animation(source, ".mp4")
    assert audio_of(again) == audio_of(data)
    opened = open_animation(again)
    assert opened.durations == pytest.approx(source.durations, abs=0.1)
    assert opened.video is not None and opened.video.matrix == source.video.matrix
    for before, after in zip(source.frames, opened.frames, strict=True):
        assert mean_difference(before, after) <= 3
    assert any("has no audio" in text for text in losses(source, ".gif", DEFAULT, None))
    assert losses(source, ".mp4", DEFAULT, None) == []


@needs_av
def test_rotated_frames_are_upright() -> None:
    data = encode_animation(clip(), ".mp4")
    turned = open_animation(with_audio(data, rotation=90))
    assert turned.size == (48, 64)
    upright = open_animation(data).frames[0].transpose(Image.Transpose.ROTATE_90)
    assert mean_difference(turned.frames[0], upright) == 0


@needs_av
@pytest.mark.parametrize("matrix", [(-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0), (0, 1, -1, 0)])
def test_frames_are_turned_and_mirrored_by_their_display_matrix(matrix: tuple[int, int, int, int]) -> None:
    data = encode_animation(clip(), ".mp4")
    stored = np.asarray(open_animation(data).frames[0])
    a, b, c, d = (number << 16 for number in matrix)
    place = data.index(b"tkhd") + 44
    shown = data[:place] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[place + 36 :]
    y, x = np.indices(stored.shape[:2])
    across, down = (a * x + c * y) >> 16, (b * x + d * y) >> 16
    expected = np.empty((np.ptp(down) + 1, np.ptp(across) + 1, 3), np.uint8)
    expected[down - down.min(), across - across.min()] = stored
    assert np.array_equal(np.asarray(open_animation(shown).frames[0]), expected)


def yuv_video(luma: NDArray[np.float64], blue: NDArray[np.float64], red: NDArray[np.float64]) -> bytes:
    """Return a video of one frame, encoded without loss, from levels of luma and of chroma of half the size."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as target:
        stream = target.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.height, stream.width = luma.shape
        stream.pix_fmt, stream.codec_context.colorspace = "yuv420p", 1
        planes = np.concatenate([np.rint(plane).astype(np.uint8).ravel() for plane in (luma, blue, red)])
        frame = av.VideoFrame.from_ndarray(planes.reshape(-1, stream.width), format="yuv420p")
        target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return buffer.getvalue()


def shift_of(row: NDArray[np.float64], places: NDArray[np.int64]) -> float:
    """Return how far a wave of 16 pixels in a row of samples lies behind one that rises at 0, in pixels."""
    amount = (row * np.exp(-2j * np.pi * places / 16)).sum() * 1j
    return float(-np.angle(amount) * 16 / (2 * np.pi))


@needs_av
def test_chroma_is_read_and_written_on_every_second_pixel_of_a_row() -> None:
    """As ITU-T H.264, figure 6-1, places it, and not between two pixels."""
    wave = np.sin(2 * np.pi * np.arange(64) / 16)
    data = yuv_video(np.full((48, 64), 126.0), 128 + 80 * wave[None, ::2].repeat(24, 0), np.full((24, 32), 128.0))
    read = np.asarray(open_animation(data).frames[0], dtype=np.float64)[24, :, 2]
    assert abs(shift_of(read, np.arange(64))) < 0.1
    frame = Image.fromarray(
        np.dstack([np.full((48, 64), 126.0)] * 2 + [126 + 80 * wave[None].repeat(48, 0)]).astype(np.uint8)
    )
    with av.open(
        io.BytesIO(encode_animation(Animation.of([frame]), ".mp4", encoding=Encoding(quality=100)))
    ) as video_file:
        plane = next(video_file.decode(video=0)).planes[1]
    written = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[12, : plane.width]
    assert abs(shift_of(written.astype(np.float64), np.arange(0, 64, 2))) < 0.1


@needs_av
def test_pixels_that_are_not_square_keep_their_shape_when_turned() -> None:
    animation = open_animation(with_audio(encode_animation(clip(), ".mp4"), rotation=90))
    assert animation.video is not None
    wide = dc.replace(animation, video=animation.video._replace(pixel_shape=Fraction(3, 4)))
    turned = open_animation(with_audio(encode_animation(wide, ".mp4"), rotation=90))
    assert turned.video is not None
    assert turned.video.pixel_shape == Fraction(4, 3)


@needs_av
def test_transparency_of_a_video_is_kept() -> None:
    levels, buffer = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 4), dtype=np.uint8), io.BytesIO()
    levels[0, ..., 3] = 255
    with av.open(buffer, "w", format="mov") as target:
        stream = target.add_stream("png", rate=10)
        stream.width, stream.height, stream.pix_fmt = 6, 4, "rgba"
        for one in levels:
            target.mux(stream.encode(av.VideoFrame.from_ndarray(one, format="rgba")))
        target.mux(stream.encode(None))
    opened = open_animation(buffer.getvalue())
    for before, after in zip(levels, opened.frames, strict=True):
        assert np.array_equal(before, np.asarray(after))
    assert any("MP4 has no transparency" in text for text in losses(opened, ".mp4", DEFAULT, None))


@needs_av
def test_a_recipe_is_read_and_removed_and_players_skip_it() -> None:
    recipe = '{"operation": "flow-edit"}'
    data, plain = encode_animation(clip(), ".mp4", recipe=recipe), encode_animation(clip(), ".mp4")
    assert read_recipe(data)[0] == recipe
    stripped = strip_recipe(data)
    assert b"flow-edit" not in stripped
    for other in (data, stripped):
        frames = zip(open_animation(plain).frames, open_animation(other).frames, strict=True)
        assert all(mean_difference(*pair) == 0 for pair in frames)


@needs_av
def test_videos_are_counted_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode_animation(clip(), ".mp4")
    monkeypatch.setattr(video, "_decode", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr("editkit.images.animation.frames.MAX_FRAMES", 3)
    with pytest.raises(BadImage, match="more than 3 frames"):
        open_animation(data)


@needs_av
def test_damaged_videos_are_refused() -> None:
    data = encode_animation(clip(), ".mp4")
    for broken in (data[: len(data) // 2], data[:32] + bytes(len(data) - 32)):
        with pytest.raises(BadImage, match="damaged or cut short"):
            open_animation(broken)


@needs_av
def test_frames_that_ffmpeg_conceals_are_refused() -> None:
    data = bytearray(encode_animation(clip(), ".mp4"))
    start, refused = data.index(b"mdat") + 4, []
    for place in range(start + 700, data.index(b"moov"), 40):
        broken = data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :]
        try:
            open_animation(bytes(broken))
        except BadImage as error:
            refused.append(str(error))
    assert any("is damaged at frame" in text for text in refused)


@needs_av
def test_odd_sides_are_refused_before_an_edit() -> None:
    with pytest.raises(InvalidParameter, match="sides are even"):
        check_encoding(".mp4", (9, 6))


@pytest.mark.parametrize("module", [None, types.SimpleNamespace(__version__="17.1.0")], ids=["missing", "old"])
def test_without_pyav_videos_are_refused_with_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: Any
) -> None:
    monkeypatch.setitem(sys.modules, "av", module)
    file = tmp_path / "clip.mp4"
    file.write_bytes(b"\0\0\0\x18ftypisom" + bytes(64))
    assert animation_suffix(file) == ".mp4"
    with pytest.raises(BadImage, match=r"needs PyAV 18 or later: pip install 'editkit\[video\]'"):
        open_animation(file)
    with pytest.raises(InvalidParameter, match=r"needs PyAV 18 or later: pip install 'editkit\[video\]'"):
        check_encoding(".mp4", (8, 6))
    assert animation_suffix(b"\0\0\0\x18ftypavif" + bytes(64)) is None
