"""Encode images and write them to files."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import InvalidParameter
from ..files import check_output, write_atomically
from ..registry.arguments import ArgumentKind, check_arguments
from .conversion import strip_metadata
from .png_metadata import NO_ATTACHMENTS, encode_png
from .stored.encoding import DEFAULT, FORMATS, Encoding, encode_stored
from .stored.image import StoredImage
from .stored.recipe_xmp import add_recipe, insert_gif_xmp

IMAGE_SUFFIXES = tuple(FORMATS)

ANIMATION_SUFFIXES = (".gif", ".webp")

# Each of Pillow's encoders raises another of these for a size that its format cannot hold.
_ENCODER_ERRORS = (OSError, ValueError, RuntimeError, OverflowError, struct.error)


@check_arguments()
def check_file(
    path: str | os.PathLike[str], suffixes: Sequence[str] = IMAGE_SUFFIXES, *, argument: str = "output"
) -> Path:
    """Check that a file with one of these suffixes can be written to ``path``; call this before computing its content.

    Raises InvalidParameter, naming ``argument``, like check_output, and for another suffix.
    """
    check_output(path, argument=argument)
    if Path(path).suffix.lower() not in suffixes:
        raise InvalidParameter(f"{argument} {os.fspath(path)!r} must end in one of {', '.join(suffixes)}")
    return Path(path)


def encode_image(
    image: Image.Image,
    suffix: str,
    *,
    recipe: str | None = None,
    attachments: Mapping[str, Image.Image] = NO_ATTACHMENTS,
    encoding: Encoding = DEFAULT,
    argument: str = "output",
) -> bytes:
    """Encode an image by its file suffix: lossless PNG (also for ``""``), TIFF or WebP, or JPEG or AVIF.

    ``image`` has mode RGB or RGBA; depth, profile and metadata of its StoredImage are written as far as the format
    holds them. Only PNG carries attachments of the recipe; JPEG has no alpha and shows the image on white. Raises
    InvalidParameter for other suffixes, a quality in a lossless format, attachments in another format than PNG, and
    sizes that the format cannot hold.
    """
    kind = suffix.lower()
    encoding.check(kind)
    if kind in ("", ".png"):
        return encode_png(image, recipe=recipe, attachments=attachments, encoding=encoding)
    if kind not in IMAGE_SUFFIXES:
        raise InvalidParameter(f"{argument} ends in {suffix!r}, but must end in one of {', '.join(IMAGE_SUFFIXES)}")
    try:
        strip_metadata(image, "image")  # checks mode and size
        return encode_stored(StoredImage.of(image), kind, encoding, recipe)
    except _ENCODER_ERRORS as error:
        raise _format_error(image, kind, argument) from error


@check_arguments(image=ArgumentKind(lambda value: isinstance(value, Image.Image), "a PIL image"))
def save_picture(image: Image.Image, path: str | os.PathLike[str], *, argument: str = "output") -> None:
    """Write an image in the format of the path's suffix, completely or not at all.

    Raises InvalidParameter, naming ``argument``, if the suffix or the folder is not allowed.
    """
    write_atomically(path, encode_image(image, Path(path).suffix, argument=argument), argument=argument)


def encode_frames(
    frames: Sequence[Image.Image],
    suffix: str,
    *,
    recipe: str | None = None,
    milliseconds: int = 100,
    encoding: Encoding = DEFAULT,
    argument: str = "output",
) -> bytes:
    """Encode images of one size as an endless animation in sRGB: GIF on white, or WebP, lossless without a quality.

    ``frames`` have mode RGB or RGBA; each is shown for ``milliseconds``, 1 or more. Raises InvalidParameter for no
    frames, frames of several sizes, suffixes other than ANIMATION_SUFFIXES, and sizes that the format cannot hold.
    """
    kind = suffix.lower()
    if kind not in ANIMATION_SUFFIXES:
        raise InvalidParameter(
            f"{argument} ends in {suffix!r}, but an animation must end in {' or '.join(ANIMATION_SUFFIXES)}"
        )
    if encoding.recipe == "full":
        raise InvalidParameter("recipe='full' embeds source and masks, which an animation does not hold: leave it out")
    if encoding.quality is not None and kind == ".gif":
        raise InvalidParameter(f"quality={encoding.quality} has no effect in GIF: leave it out, or save as .webp")
    if len({frame.size for frame in frames}) != 1 or milliseconds < 1:
        raise InvalidParameter("frames must be one or more images of one size, shown for 1 or more milliseconds")
    first, *rest = [_on_white(frame) if kind == ".gif" else strip_metadata(frame, "frame") for frame in frames]
    options: dict[str, Any] = {"lossless": True} if encoding.quality is None else {"quality": encoding.quality}
    xmp = b"" if recipe is None else add_recipe(b"", recipe)
    if kind == ".webp":
        options["xmp"] = xmp
    buffer = io.BytesIO()
    try:
        first.save(buffer, kind[1:], save_all=True, append_images=rest, duration=milliseconds, loop=0, **options)
    except _ENCODER_ERRORS as error:
        raise _format_error(first, kind, argument) from error
    return insert_gif_xmp(buffer.getvalue(), xmp) if kind == ".gif" and xmp else buffer.getvalue()


def _on_white(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.rint(StoredImage.of(image).on_white().clip(0, 1) * 255).astype(np.uint8))


def _format_error(image: Image.Image, kind: str, argument: str) -> InvalidParameter:
    width, height = image.size
    return InvalidParameter(
        f"{argument} cannot be written as {kind}: {width} x {height} pixels do not fit that format; use .png"
    )
