"""Read the recipe in an image file of any format that editkit writes."""

from __future__ import annotations

import io
import os
import warnings

from PIL import Image

from ...errors import BadFile, BadImage
from .. import png_metadata
from ..reading import FORMATS
from ..sources import Source, read_source
from ..stored.kinds import is_video
from ..stored.recipe_xmp import NAMESPACE, find_recipes, gif_packet, mp4_packet


def read_recipe(source: Source, *, argument: str = "recipe") -> tuple[str, dict[str, Image.Image]]:
    """Return the JSON text of the recipe in an image file, and the images embedded beside it in a PNG.

    ``source`` is a path, ``"-"``, bytes or a binary file. Raises BadFile, naming ``argument``, if there is no recipe,
    more than one, or a damaged one.
    """
    name = describe_file(source, argument)
    data = read_file(source, argument)
    if png_metadata.is_png(data):
        return png_metadata.read_recipe(data, name)
    try:
        recipes = find_recipes(read_packet(data, name))
    except ValueError as error:
        raise BadFile(f"{name} holds no recipe that can be read: {error}") from None
    count = max(len(recipes), data.count(f'"{NAMESPACE}"'.encode())) if recipes else 0
    if count != 1:
        raise BadFile(
            f"{name} holds {f'{count} editkit recipes' if count > 1 else 'no editkit recipe'}: pass a file as editkit "
            "saved it, not one saved by another program or with recipe none"
        )
    if len(recipes[0].encode()) > png_metadata.MAX_RECIPE_BYTES:
        raise BadFile(
            f"{name} holds a recipe that editkit did not write: at most {png_metadata.MAX_RECIPE_BYTES} bytes"
        )
    return recipes[0], {}


def describe_file(source: Source, argument: str) -> str:
    """Return argument and path of a file for messages."""
    return f"{argument} {os.fspath(source)!r}" if isinstance(source, (str, os.PathLike)) else argument


def read_file(source: Source, argument: str) -> bytes:
    """Return the bytes of a file; raises BadFile if it cannot be read."""
    try:
        return read_source(source, argument=argument)
    except BadImage as error:
        raise BadFile(str(error)) from error


def read_packet(data: bytes, name: str) -> bytes:
    """Return the XMP packet of an image file, empty if it has none; raises BadFile for a file that is no image."""
    if data.startswith(b"GIF8"):
        block = gif_packet(data)
        return b"" if block is None else block[2]
    if is_video(data):
        return mp4_packet(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # no pixel is decoded
            packet = Image.open(io.BytesIO(data), formats=FORMATS).info.get("xmp", b"")
    except Exception as error:  # decoders raise anything on damaged data
        raise BadFile(
            f"{name} is not an image that can hold a recipe: pass a .png, .jpg, .webp, .avif, .tif, .gif or .mp4 that "
            "editkit saved"
        ) from error
    return packet if isinstance(packet, bytes) else b""
