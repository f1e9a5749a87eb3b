"""MP4 video by PyAV, the extra ``editkit[video]``: frames and times are read and written, other streams are copied."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import operator
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import BadImage, EditkitError, InvalidParameter
from ..sources import check_size, format_size, reason_text
from ..stored.encoding import Encoding
from ..stored.image import StoredImage
from ..stored.recipe_xmp import add_recipe, append_mp4_xmp
from .frames import Animation, VideoFile, check_length, same_mode

INSTALL = "pip install 'editkit[video]'"
_OLDEST = 18
"""Major version of PyAV from which frames have all that is read and written here."""

_DEMUXER = "mp4"
"""The only demuxer that FFmpeg may choose: it opens no other file by a name in this one."""
_CODEC = "libx264"
_TICKS = 90_000
"""Time base of written frames in parts of a second, a multiple of the usual frame rates."""
_UNTIMED = 100.0
"""Milliseconds for which viewers show a frame of an animated image without a time."""
_DEFAULT_QUALITY = 67
_WORST_CRF = 51
_BT709 = 1
_MATRICES = {_BT709: "bt709", 4: "fcc", 5: "bt470", 6: "smpte170m", 7: "smpte240m", 9: "bt2020"}
"""Colour matrices by their codes (ITU-T H.273), as filters name them; others are left to FFmpeg."""
_LIMITED = 1
"""Code of levels from 16 to 235, as players expect them."""
_SCALING = "BICUBIC", "FULL_CHR_H_INT", "FULL_CHR_H_INP", "ACCURATE_RND"
"""Flags of FFmpeg's conversion from chroma of half the size to RGB, without which colours are off by levels."""
_FILTER_SCALING = "bicubic+full_chroma_int+full_chroma_inp+accurate_rnd"
"""The same flags in the language of filters, for the way back."""
_HDR = {16: "PQ", 18: "HLG"}
"""Transfer functions of high dynamic range by their codes."""


def _load_av() -> Any:
    """Return the module of PyAV; None if it is not installed, or too old."""
    try:
        import av
    except ImportError:
        return None
    return av if int(av.__version__.partition(".")[0]) >= _OLDEST else None


def open_video(data: bytes, name: str) -> Animation:
    """Return the frames of the first video stream in the bytes of an MP4 file, upright and in 8-bit sRGB.

    Raises BadImage if PyAV is missing, if the file is damaged, and for too many frames or pixels before any is decoded.
    """
    av = _load_av()
    if av is None:
        raise BadImage(f"{name} is a video, which needs PyAV {_OLDEST} or later: {INSTALL}")
    try:
        count = _check_header(av, data, name)
        with av.open(io.BytesIO(data), format=_DEMUXER) as container:
            return _decode(av, container, data, count, name)
    except EditkitError:
        raise
    except Exception as error:  # FFmpeg and PyAV raise anything on damaged data
        raise BadImage(
            f"{name} cannot be read: its video data are damaged or cut short ({reason_text(error)}); get a whole copy"
        ) from error


def _check_header(av: Any, data: bytes, name: str) -> int:
    """Return the number of encoded frames; raises BadImage if they, or their pixels, are too many."""
    with av.open(io.BytesIO(data), format=_DEMUXER) as container:
        if not container.streams.video:
            raise BadImage(f"{name} has no video stream: give a video with one")
        stream = container.streams.video[0]
        size = stream.width, stream.height
        check_size(size, name)
        count = 0
        for packet in container.demux(stream):
            count += bool(packet.size)
            check_length(count, size, name)
        return count


def _decode(av: Any, container: Any, data: bytes, count: int, name: str) -> Animation:
    stream = container.streams.video[0]
    images: list[Image.Image] = []
    times: list[float] = []
    last, notes = 0.0, None
    for frame in container.decode(stream):
        if (frame.width, frame.height) != (stream.width, stream.height) or len(images) == count:
            raise BadImage(f"{name} changes its size or its number of frames within the stream: encode it again")
        if frame.is_corrupt:
            raise BadImage(f"{name} is damaged at frame {len(images) + 1}: get a whole copy")
        notes = _notes(frame, name) if notes is None else notes
        images.append(StoredImage(_levels(av, frame), notes=notes).view())
        times.append(float(1000 * frame.time) if frame.time is not None else 1000 * len(times) / _rate(stream))
        last = float(1000 * frame.duration * frame.time_base) if frame.duration else 1000 / _rate(stream)
    if not images:
        raise BadImage(f"{name} has a video stream without frames: get a whole copy")
    durations = [after - before for before, after in itertools.pairwise(times)]
    if min(durations, default=1.0) <= 0:
        raise BadImage(f"{name} has frames at the same time: encode it again")
    video = VideoFile(data, bool(container.streams.audio), times[0], _matrix(stream), _pixel_shape(stream, images[0]))
    return Animation(same_mode(images), (*durations, last), 1, ".mp4", video)


def _levels(av: Any, frame: Any) -> NDArray[np.uint8]:
    """Levels (H, W, 3), or (H, W, 4) of a frame with transparent pixels, upright."""
    has_alpha = frame.format.has_palette or any(component.is_alpha for component in frame.format.components)
    converted = frame.reformat(format="rgba" if has_alpha else "rgb24", interpolation=_scaling(av))
    levels = _upright(converted.to_ndarray(), frame)
    return levels[..., :3] if has_alpha and levels[..., 3].min() == 255 else levels


def _upright(levels: NDArray[np.uint8], frame: Any) -> NDArray[np.uint8]:
    """Turn and mirror levels (H, W, C) by the display matrix of a frame (ISO/IEC 14496-12, 6.2.2), to right angles."""
    matrix = next((data for data in frame.side_data if data.type.name == "DISPLAYMATRIX"), None)
    if matrix is None:
        return levels
    # Position (x, y) of a pixel is shown at (a * x + c * y, b * x + d * y), but for a shift.
    a, b, _, c, d = np.frombuffer(matrix, np.int32, 5).astype(np.int64)
    if abs(a) + abs(d) < abs(b) + abs(c):
        levels, a, d = levels.swapaxes(0, 1), c, b
    return np.ascontiguousarray(levels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _scaling(av: Any) -> int:
    flags = av.video.reformatter.Interpolation
    return int(functools.reduce(operator.or_, (flags[name] for name in _SCALING)))


def _rate(stream: Any) -> float:
    return float(stream.average_rate or stream.guessed_rate or 25)


def _pixel_shape(stream: Any, image: Image.Image) -> Fraction | None:
    """Return the width of the pixels of an upright image over their height; None or 0 if unknown."""
    shape: Fraction | None = stream.sample_aspect_ratio
    return 1 / shape if shape and image.size != (stream.width, stream.height) else shape


def _matrix(stream: Any) -> int:
    return int(stream.codec_context.colorspace)


def _notes(frame: Any, name: str) -> tuple[str, ...]:
    """Return sentences about what of a frame is not kept."""
    notes, bits = [], max(component.bits for component in frame.format.components)
    if bits > 8:
        notes.append(f"{name} has {bits} bits per channel, of which 8 are read")
    if frame.color_trc in _HDR:
        notes.append(
            f"{name} has high dynamic range ({_HDR[frame.color_trc]}), which is not read: its colours are taken as sRGB"
        )
    return tuple(notes)


def check_video(size: tuple[int, int]) -> None:
    """Raise InvalidParameter if frames of ``size`` (width, height) cannot be written as MP4."""
    av = _load_av()
    if av is None or _CODEC not in av.codecs_available:
        missing = f"PyAV {_OLDEST} or later" if av is None else f"PyAV with the encoder {_CODEC}"
        raise InvalidParameter(f"an output in MP4 needs {missing}: {INSTALL}, or save as .webp or .png")
    if any(side % 2 for side in size):
        raise InvalidParameter(
            f"frames of {format_size(size)} pixels do not fit in MP4, whose sides are even: save as .webp or .png"
        )


def encode_video(animation: Animation, encoding: Encoding, recipe: str | None) -> bytes:
    """Encode frames on white as H.264 with chroma of half the size, beside the audio and subtitles of the source."""
    av, buffer = _load_av(), io.BytesIO()
    with contextlib.ExitStack() as opened:
        target = opened.enter_context(av.open(buffer, "w", format=_DEMUXER))
        stream = _add_video(target, animation, encoding)
        copies = None
        if animation.video is not None:
            source = opened.enter_context(av.open(io.BytesIO(animation.video.data), format=_DEMUXER))
            copies = _copied_packets(source, target)
        durations: dict[int, int] = {}
        for frame in itertools.chain(_frames(av, animation, stream), [None]):
            if frame is not None:
                _mux_until(target, copies, frame.pts / _TICKS)
                durations[frame.pts] = frame.duration
            for packet in stream.encode(frame):
                packet.duration = durations[packet.pts]  # the encoder's own is that of the rate
                target.mux(packet)
        _mux_until(target, copies, float("inf"))
    return buffer.getvalue() if recipe is None else append_mp4_xmp(buffer.getvalue(), add_recipe(b"", recipe))


def _add_video(target: Any, animation: Animation, encoding: Encoding) -> Any:
    """Add a video stream with the size, rate, colour matrix and pixel shape of an animation to an open file."""
    quality = encoding.quality or _DEFAULT_QUALITY
    seconds = sum(animation.durations) / 1000
    rate = Fraction(len(animation) / seconds).limit_denominator(1001) if seconds else Fraction(25)
    stream = target.add_stream(_CODEC, rate=rate, options={"crf": str(round(_WORST_CRF * (100 - quality) / 99))})
    stream.width, stream.height = animation.size
    stream.pix_fmt = "yuv420p"
    stream.time_base = stream.codec_context.time_base = Fraction(1, _TICKS)
    stream.codec_context.colorspace = _BT709 if animation.video is None else animation.video.matrix
    stream.codec_context.color_range = _LIMITED
    if animation.video is None:
        stream.codec_context.color_primaries = stream.codec_context.color_trc = _BT709
    elif animation.video.pixel_shape:
        stream.codec_context.sample_aspect_ratio = animation.video.pixel_shape
    return stream


def _frames(av: Any, animation: Animation, stream: Any) -> Iterator[Any]:
    """Yield frames to be encoded, with their times."""
    graph = _yuv_graph(av, animation.size, stream.codec_context.colorspace)
    start = animation.video.start if animation.video else 0.0
    starts = itertools.accumulate((length or _UNTIMED for length in animation.durations), initial=start)
    for image, (first, end) in zip(animation.frames, itertools.pairwise(starts), strict=True):
        rgb = av.VideoFrame.from_ndarray(StoredImage.of(image).on_white_8_bits(), format="rgb24")
        graph.push(rgb)
        frame = graph.pull()
        frame.pts, frame.time_base = round(first * _TICKS / 1000), Fraction(1, _TICKS)
        frame.duration = max(1, round(end * _TICKS / 1000) - frame.pts)
        yield frame


def _yuv_graph(av: Any, size: tuple[int, int], code: int) -> Any:
    """Return a graph of filters from RGB to chroma of half the size, by the matrix of a code.

    Samples of chroma lie on every second pixel of a row, where players of H.264 show them (ITU-T H.264, figure 6-1);
    FFmpeg's conversion of whole frames puts them between two pixels.
    """
    matrix = [f"out_color_matrix={_MATRICES[code]}"] if code in _MATRICES else []
    options = ["out_h_chr_pos=0", "out_range=tv", f"flags={_FILTER_SCALING}", *matrix]
    graph = av.filter.Graph()
    source = graph.add_buffer(width=size[0], height=size[1], format="rgb24", time_base=Fraction(1, _TICKS))
    scale, form = graph.add("scale", ":".join(options)), graph.add("format", "pix_fmts=yuv420p")
    graph.link_nodes(source, scale, form, graph.add("buffersink")).configure()
    return graph


def _copied_packets(source: Any, target: Any) -> Iterator[Any]:
    """Add the audio and subtitle streams of a file to another, and return an iterator of their packets."""
    streams = [*source.streams.audio, *source.streams.subtitles]
    places = {stream.index: target.add_stream_from_template(stream) for stream in streams}

    def packets() -> Iterator[Any]:
        for packet in source.demux(streams) if streams else ():
            if packet.size and packet.dts is not None:
                time = float(packet.dts * packet.time_base)
                packet.stream = places[packet.stream.index]
                yield time, packet

    return packets()


def _mux_until(target: Any, packets: Iterator[Any] | None, seconds: float) -> None:
    """Write packets up to and with the first one that begins after a time."""
    for time, packet in packets or ():
        target.mux(packet)
        if time > seconds:
            return
