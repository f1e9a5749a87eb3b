"""Encode frames with their times as GIF, WebP, APNG or MP4."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ...errors import InvalidParameter
from ..conversion import on_white, strip_metadata
from ..png_metadata import recipe_chunks
from ..sources import format_size
from ..stored.encoding import DEFAULT, ENCODER_ERRORS, Encoding
from ..stored.image import StoredImage
from ..stored.recipe_xmp import add_recipe, insert_gif_xmp
from .frames import Animation
from .palette import to_palette
from .suffixes import ANIMATION_SUFFIXES
from .video import check_video, encode_video

_UNITS = {".gif": 10.0, ".webp": 1.0, ".png": 1.0, ".apng": 1.0}
"""Milliseconds in which a format counts."""
_LONGEST_SIDES = {".gif": 65535, ".webp": 16383}


def check_encoding(
    suffix: str, size: tuple[int, int], encoding: Encoding = DEFAULT, *, argument: str = "output"
) -> None:
    """Raise InvalidParameter if frames of ``size`` (width, height) cannot be written with a suffix in an encoding."""
    kind = suffix.lower()
    if kind not in ANIMATION_SUFFIXES:
        raise InvalidParameter(
            f"{argument} ends in {suffix!r}, but an animation must end in one of {', '.join(ANIMATION_SUFFIXES)}"
        )
    if encoding.recipe == "full":
        raise InvalidParameter("recipe='full' embeds source and masks, which an animation does not hold: leave it out")
    if encoding.quality is not None and kind not in (".webp", ".mp4"):
        raise InvalidParameter(
            f"quality={encoding.quality} has no effect in an animated {kind}: leave it out, or save as .webp or .mp4"
        )
    if max(size) > _LONGEST_SIDES.get(kind, max(size)):
        raise _size_error(size, kind, argument)
    if kind == ".mp4":
        check_video(size)


def encode_animation(
    animation: Animation,
    suffix: str,
    *,
    recipe: str | None = None,
    encoding: Encoding = DEFAULT,
    transparent: bool = True,
    argument: str = "output",
) -> bytes:
    """Encode an animation in 8-bit sRGB: GIF of one palette, WebP (lossless without a quality), APNG or MP4.

    ``transparent`` frames of a GIF get a transparent colour, others are laid on white; those of MP4 always are. Equal
    neighbours may become one frame of the time of both. Raises InvalidParameter as check_encoding does.
    """
    kind = suffix.lower()
    check_encoding(kind, animation.size, encoding, argument=argument)
    if kind == ".mp4":
        return encode_video(animation, encoding, recipe)
    times = round_durations(animation.durations, _UNITS[kind])
    try:
        if kind == ".gif":
            return _encode_gif(animation, times, recipe, transparent=transparent)
        encode = _encode_webp if kind == ".webp" else _encode_png
        frames = [strip_metadata(frame, "frame") for frame in animation.frames]
        return encode(frames, times, animation.plays, recipe, encoding)
    except ENCODER_ERRORS as error:
        raise _size_error(animation.size, kind, argument) from error


def round_durations(durations: Sequence[float], unit: float) -> list[int]:
    """Round times in milliseconds to whole units without a growing error of their sum."""
    ends = [round(end / unit) for end in itertools.accumulate(durations, initial=0.0)]
    return [round((end - start) * unit) for start, end in itertools.pairwise(ends)]


def _encode_gif(animation: Animation, times: list[int], recipe: str | None, *, transparent: bool) -> bytes:
    first, *rest = to_palette(animation.frames, transparent=transparent)
    options: dict[str, Any] = {"duration": times, "optimize": False}
    if animation.plays != 1:
        options["loop"] = max(0, animation.plays - 1)
    if "transparency" in first.info:
        options |= {"transparency": first.info["transparency"], "disposal": 2}
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=rest, **options)
    return buffer.getvalue() if recipe is None else insert_gif_xmp(buffer.getvalue(), add_recipe(b"", recipe))


def _encode_webp(
    frames: list[Image.Image], times: list[int], plays: int, recipe: str | None, encoding: Encoding
) -> bytes:
    quality: dict[str, Any] = {"lossless": True} if encoding.quality is None else {"quality": encoding.quality}
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=times,
        loop=plays,
        xmp=b"" if recipe is None else add_recipe(b"", recipe),
        **quality,
    )
    return buffer.getvalue()


def _encode_png(
    frames: list[Image.Image], times: list[int], plays: int, recipe: str | None, encoding: Encoding
) -> bytes:
    buffer, chunks = io.BytesIO(), recipe_chunks(recipe)
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:], duration=times, loop=plays, pnginfo=chunks)
    return buffer.getvalue()


def losses(animation: Animation, suffix: str, encoding: Encoding, untouched: int | None) -> list[str]:
    """Return sentences about what a file does not hold; ``untouched`` is measured in it, outside the masks."""
    kind, texts = suffix.lower(), []
    if kind == ".mp4" and not all(map(_is_opaque, animation.frames)):
        texts.append("MP4 has no transparency: frames are laid on white; save as .webp or .png to keep it")
    if kind != ".mp4" and animation.video is not None and animation.video.has_audio:
        texts.append(f"an animated {kind} has no audio: that of the source is left out; save as .mp4 to keep it")
    if untouched:
        reasons = {".gif": "GIF has a palette of 256 colours", ".mp4": "MP4 is lossy", ".webp": "the WebP is lossy"}
        texts.append(
            f"{reasons.get(kind, 'the file has 8 bits')}: pixels that the edit left alone differ by up to {untouched} "
            "levels in the file; save as .png or as a lossless .webp to keep them"
        )
    return texts


def frames_losses(animation: Animation, written: Sequence[Image.Image], suffix: str) -> list[str]:
    """Return sentences about what a file of a result's frames does not hold; ``written`` are its frames."""
    name, texts = {".gif": "GIF", ".webp": "WebP"}[suffix.lower()], []
    if name == "GIF" and not all(map(_is_opaque, animation.frames)):
        texts.append("the frames of the GIF are laid on white: save as .webp to keep their transparency")
    if any(StoredImage.of(frame).depth > 8 for frame in animation.frames):
        texts.append(f"{name} is written with 8 bits per channel, the frames have 16: save as .png to keep them")
    difference = max(
        int(np.abs(np.asarray(on_white(one), np.int16) - np.asarray(on_white(other), np.int16)).max())
        for one, other in zip(animation.frames, written, strict=True)
    )
    if difference:
        reason = "GIF has a palette of 256 colours" if name == "GIF" else "the WebP is lossy"
        texts.append(
            f"{reason}: pixels differ by up to {difference} levels in the file; save as a lossless .webp or as .png to "
            "keep them"
        )
    return texts


def _is_opaque(image: Image.Image) -> bool:
    alpha = StoredImage.of(image).alpha
    return alpha is None or bool((alpha == 1).all())


def _size_error(size: tuple[int, int], kind: str, argument: str) -> InvalidParameter:
    return InvalidParameter(
        f"{argument} cannot be written as {kind}: {format_size(size)} pixels do not fit that format; use .png"
    )
