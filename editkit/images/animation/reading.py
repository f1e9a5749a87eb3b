"""Open animated files: GIF, WebP, APNG and MP4."""

from __future__ import annotations

import dataclasses as dc
import io
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageSequence

from ...errors import BadImage, EditkitError
from ..sources import Source, check_regular, check_size, describe_source, read_source, reason_text
from ..stored.decoding import decode, keeps_size, orientation_of, turn_upright
from ..stored.image import Levels, StoredImage
from ..stored.kinds import is_video
from .apng import apng_parts
from .frames import MAX_FRAMES, Animation, check_length, same_mode
from .gif import count_gif_frames, gif_parts
from .parts import Part, compose
from .video import open_video

SUFFIXES = {"GIF": ".gif", "WEBP": ".webp", "PNG": ".png"}
"""File suffix by the format of an animated image."""
_PARTS: dict[str, Callable[[bytes], Iterator[Part]]] = {"GIF": gif_parts, "PNG": apng_parts}
"""Functions that find the frames of formats which are composed here; those of WebP are composed by its library."""
_HEADER = 1024
"""Bytes at the beginning of a file by which a video is recognised."""


def animation_suffix(source: Source | Animation) -> str | None:
    """Return the file suffix of the format if a path or bytes hold an animation, by its header; None if not.

    A source that cannot be read is none: opening it says why.
    """
    if isinstance(source, Animation):
        return source.suffix
    try:
        if isinstance(source, (bytes, bytearray, memoryview)):
            return _suffix(io.BytesIO(source))
        if isinstance(source, (str, os.PathLike)) and source != "-":
            check_regular(source, "image")
            with Path(source).open("rb") as file:
                return _suffix(file)
    except Exception:  # decoders raise anything on damaged data
        return None
    return None


def _suffix(file: BinaryIO) -> str | None:
    header = file.read(_HEADER)
    if is_video(header):
        return ".mp4"
    file.seek(0)
    image = _parse(file, "")
    return SUFFIXES[str(image.format)] if image is not None and getattr(image, "is_animated", False) else None


def open_animation(source: Source | Animation, *, argument: str = "animation") -> Animation:
    """Open an animated GIF, WebP or PNG, or an MP4 or QuickTime video, as its frames with their times.

    ``source`` is a path, ``"-"`` (standard input), bytes or a binary file. Frames are composed as a viewer shows them;
    an image that an APNG shows in place of the animation is left out, and videos need the extra ``editkit[video]``.
    Raises BadImage, naming ``argument``, for a file that is no animation, and for one of more than MAX_FRAMES frames or
    MAX_ANIMATION_PIXELS pixels before any of them is decoded.
    """
    if isinstance(source, Animation):
        return source
    name = describe_source(source, argument)
    data = read_source(source, argument=argument)
    if is_video(data):
        return open_video(data, name)
    image = _parse(io.BytesIO(data), name)
    if image is None or not _is_animated(image):
        raise BadImage(
            f"{name} is no animation that can be read: an animated GIF, WebP or PNG, or an MP4 video is allowed"
        )
    return _read(image, data, name)


def reopen(data: bytes) -> Animation:
    """Return the frames in the bytes of a file as it was encoded; equal frames may have become a still image."""
    name = "the file as encoded"
    if is_video(data):
        return open_video(data, name)
    image = _parse(io.BytesIO(data), name)
    assert image is not None
    return _read(image, data, name)


def _read(image: Image.Image, data: bytes, name: str) -> Animation:
    """Decode all frames after their number and size are checked."""
    try:
        check_size(image.size, name)
        count = _count(image, data)
        check_length(count, image.size, name)
        animation = _decode(image, data, name)
    except EditkitError:
        raise
    except Exception as error:  # decoders raise anything on damaged data
        raise BadImage(
            f"{name} cannot be read: its {image.format} data are damaged or cut short ({reason_text(error)}); get a "
            "whole copy"
        ) from error
    if len(animation) != count:
        raise BadImage(f"{name} holds {len(animation)} of its {count} frames: it is cut short; get a whole copy")
    return animation


def _parse(file: BinaryIO, name: str) -> Image.Image | None:
    """Read the header of a GIF, WebP or PNG; None for other files."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(file, formats=tuple(SUFFIXES))
    except Image.DecompressionBombError:
        raise BadImage(f"{name} has too many pixels in a frame") from None
    except Exception:  # of damaged headers, which open_image explains
        return None


def _is_animated(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # the data behind the first frame are damaged, which reading them says
        return True


def _count(image: Image.Image, data: bytes) -> int:
    """Return the number of frames without decoding one."""
    if image.format == "GIF":
        return count_gif_frames(data, MAX_FRAMES + 1)
    return int(getattr(image, "n_frames", 1)) - int(bool(getattr(image, "default_image", False)))


def _decode(image: Image.Image, data: bytes, name: str) -> Animation:
    format_name = str(image.format)
    find = _PARTS.get(format_name)
    parts = list(find(data)) if find is not None else []
    shown = list(_composed(parts, image, name) if parts else _decoded(image, name))
    frames, durations = [stored.view() for stored, _ in shown], tuple(milliseconds for _, milliseconds in shown)
    return Animation(same_mode(frames), durations, _plays(image), SUFFIXES[format_name])


def _composed(parts: list[Part], image: Image.Image, name: str) -> Iterator[tuple[StoredImage, float]]:
    """Yield the image that is shown of each part of an opened file, and its time."""
    decoded: list[StoredImage] = []

    def decode_part(part: Part) -> Levels:
        decoded.append(decode(Image.open(io.BytesIO(part.data), formats=tuple(_PARTS)), b"", name, use_profile=True))
        return decoded[-1].levels

    orientation = orientation_of(image)
    for part, levels in zip(parts, compose(parts, image.size, decode_part, name), strict=True):
        upright = turn_upright(_without_full_alpha(levels, decoded[-1].maximum), orientation)
        yield dc.replace(decoded[-1], levels=upright, turned=keeps_size(orientation, upright)), part.milliseconds


def _decoded(image: Image.Image, name: str) -> Iterator[tuple[StoredImage, float]]:
    """Yield the frames of an opened file as Pillow decodes them, and their times."""
    for frame in ImageSequence.Iterator(image):
        frame.load()
        stored = decode(frame.copy(), b"", name, use_profile=True)
        shown = dc.replace(stored, levels=_without_full_alpha(stored.levels, stored.maximum))
        yield shown, float(frame.info.get("duration", 0))


def _without_full_alpha(levels: Levels, white: int) -> Levels:
    """Return levels (H, W, 3 or 4) without an alpha channel that is full: a lossless copy is the same in any format."""
    return levels[..., :3] if levels.shape[2] == 4 and bool((levels[..., 3] == white).all()) else levels


def _plays(image: Image.Image) -> int:
    """Return how often an animation is played; 0 for endlessly.

    A GIF without the extension of Netscape is played once, and its count is that of repetitions.
    """
    loop = image.info.get("loop")
    if image.format != "GIF":
        return int(loop or 0)
    return 1 if loop is None else int(loop) + 1 if loop else 0
