"""Encode images and write them to files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from ..errors import InvalidParameter
from ..files.writing import check_output, write_atomically
from ..registry.arguments import ArgumentKind, check_arguments
from .conversion import strip_metadata
from .png_metadata import NO_ATTACHMENTS, encode_png
from .stored.encoding import DEFAULT, ENCODER_ERRORS, FORMATS, Encoding, encode_stored
from .stored.image import StoredImage

IMAGE_SUFFIXES = tuple(FORMATS)
FRAMES_SUFFIXES = (".gif", ".webp")
"""File suffixes in which several frames of one result become an animation; in others they are side by side."""


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
    except ENCODER_ERRORS as error:
        raise _format_error(image, kind, argument) from error


@check_arguments(image=ArgumentKind(lambda value: isinstance(value, Image.Image), "a PIL image"))
def save_picture(image: Image.Image, path: str | os.PathLike[str], *, argument: str = "output") -> None:
    """Write an image in the format of the path's suffix, completely or not at all.

    Raises InvalidParameter, naming ``argument``, if the suffix or the folder is not allowed.
    """
    write_atomically(path, encode_image(image, Path(path).suffix, argument=argument), argument=argument)


def _format_error(image: Image.Image, kind: str, argument: str) -> InvalidParameter:
    width, height = image.size
    return InvalidParameter(
        f"{argument} cannot be written as {kind}: {width} x {height} pixels do not fit that format; use .png"
    )
