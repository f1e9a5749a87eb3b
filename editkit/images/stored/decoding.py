"""Decode an opened image at its own bit depth, upright."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import BadImage
from ..sources import check_size
from .arrays import dark_notes, levels_of
from .colour import ColourProfile, convert_deep_grey, convert_to_srgb, profile_note, read_profile
from .deep import decode_deep, deep_channel, has_deep_avif, has_deep_channel, is_deep_file, transparent_colour
from .image import Levels, StoredImage, to_8_bits
from .kinds import has_content_credentials, has_crop, left_out, unread_colour_space
from .metadata import NO_METADATA, is_adobe_rgb, read_metadata
from .tiff import count_further_channels

_ORIENTATION = 0x0112
_MP_ENTRIES = 0xB002
_UPRIGHT: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: np.fliplr,
    3: lambda levels: np.rot90(levels, 2),
    4: np.flipud,
    5: lambda levels: np.fliplr(np.rot90(levels, 3)),
    6: lambda levels: np.rot90(levels, 3),
    7: lambda levels: np.fliplr(np.rot90(levels)),
    8: np.rot90,
}
"""Transformation of levels (H, W, ...) by the value of the EXIF orientation."""

_FIRST_SIDEWAYS = 5
"""Orientation from which width and height are exchanged."""

_ROUNDING = 2
"""Difference between the channels of grey pixels in a lossy file."""


def decode(image: Image.Image, data: bytes, name: str, *, use_profile: bool) -> StoredImage:
    """Decode an opened image upright; ``data`` are the bytes of its file, empty for one in memory.

    Without ``use_profile`` its colour profile, its metadata and notes about the file are left out, as for masks. Raises
    BadImage, naming the image by ``name``, for too many pixels and for levels whose white is unknown.
    """
    transparent, holds_deep, box = transparent_colour(image), is_deep_file(image), _covered_box(image)
    # Pillow turns a TIFF while it decodes it.
    already_turned = orientation_of(image) if getattr(image, "format", None) == "TIFF" else 1
    image.load()
    check_size(image.size, name)
    orientation = orientation_of(image)
    icc = image.info.get("icc_profile") if use_profile else None
    profile = read_profile(icc) if icc and image.mode != "CMYK" else None
    levels: Levels | None = None
    if holds_deep and data:
        levels = decode_deep(data, np.asarray(image), has_key=image.mode == "RGB" and "transparency" in image.info)
    notes = _file_notes(image, data, name) if use_profile else []
    if levels is None or (icc and profile is None):
        shallow, converted, more = _shallow_levels(image, icc, profile, transparent, name)
        levels = shallow if levels is None or converted else levels
        notes += more
    if levels.dtype == np.uint8 and (holds_deep or has_deep_channel(image) or has_deep_avif(data)):
        notes.append(f"{name} has more than 8 bits per channel, of which 8 are read: save it as a 16-bit PNG in RGB")
    notes += dark_notes(levels, name)
    levels = levels if box is None else _clear_outside(levels, box)
    metadata = read_metadata(image) if use_profile else NO_METADATA
    upright = turn_upright(levels, orientation)
    turned = keeps_size(max(orientation, already_turned), upright)
    return StoredImage(upright, profile, metadata, tuple(notes), turned)


def _file_notes(image: Image.Image, data: bytes, name: str) -> list[str]:
    """Return sentences about what a file holds beside its pixels and its profile."""
    notes = []
    space = unread_colour_space(data) or ("Adobe RGB by its EXIF" if is_adobe_rgb(image) else None)
    if space and not image.info.get("icc_profile"):
        notes.append(f"{name} has a colour space that is not read ({space}): its colours are taken as sRGB")
    if has_content_credentials(data):
        notes.append(f"{name} has Content Credentials (C2PA), which sign it as it is and are not kept")
    if further := count_further_channels(image):
        channels = "a channel" if further == 1 else f"{further} channels"
        notes.append(f"{name} has {channels} beside its colours that no tag marks as transparency: left out")
    if has_crop(data, image.size):
        notes.append(f"{name} has a crop (clap) that is not applied: the image is edited as a whole")
    if data.startswith((b"\xff\xd8", b"\0\0\0")):
        notes += [f"{name} has {part}" for part in left_out(data)]
    if (views := _count_views(image)) > 1:
        notes.append(f"{name} has {views} views (MPO), of which the first is edited and the others are not kept")
    return notes


def _count_views(image: Image.Image) -> int:
    """Return the number of views of a stereo or panoramic photograph; previews and gain maps are none."""
    entries: list[Mapping[str, Any]] = (getattr(image, "mpinfo", None) or {}).get(_MP_ENTRIES, [])
    return sum(str(entry["Attribute"]["MPType"]).startswith("Multi-Frame") for entry in entries)


def _shallow_levels(
    image: Image.Image, icc: bytes | None, profile: ColourProfile | None, transparent: object, name: str
) -> tuple[Levels, bool, list[str]]:
    """Levels of a decoded image by Pillow, whether they were converted to sRGB, and notes about its colours."""
    if transparent is not None and transparent != image.info.get("transparency"):
        image = image.copy()
        image.info["transparency"] = transparent
    unused = icc if profile is None else None
    image = _as_profiled(image, unused)
    levels, converted = _stored_levels(image, unused, name)
    notes = []
    if image.mode == "CMYK" and not converted:
        notes.append(f"{name} has CMYK colours: the result is in RGB")
    if unused and (note := profile_note(unused, image.mode, converted)):
        notes.append(f"{name} {note}")
    return levels, converted, notes


def _as_profiled(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Return an image in mode L or LA if its profile is one of grey and its channels are equal; another one as it is.

    Pillow opens 16-bit grey with alpha as RGBA, and some programs write grey images as RGB beside their profile.
    """
    if not icc or icc[16:20] != b"GRAY" or image.mode not in ("RGB", "RGBA"):
        return image
    levels = np.asarray(image)[..., :3]
    is_grey = (levels.max(-1) - levels.min(-1)).max() <= _ROUNDING
    return image.convert("LA" if image.mode == "RGBA" else "L") if is_grey else image


def _stored_levels(image: Image.Image, icc: bytes | None, name: str) -> tuple[Levels, bool]:
    """Levels (H, W, 3 or 4) of a decoded image, and whether they were converted from the profile ``icc`` to sRGB."""
    colour, alpha = _split_alpha(image, name)
    if isinstance(colour, np.ndarray):
        if icc is None:
            return np.dstack([colour] * 3 if alpha is None else [colour, colour, colour, alpha]), False
        grey = convert_deep_grey(colour, icc)
        deep = colour if grey is None else grey
        return np.dstack([deep] * 3 if alpha is None else [deep, deep, deep, alpha]), grey is not None
    result, converted = convert_to_srgb(colour, icc) if icc else (colour.convert("RGB"), False)
    levels = np.asarray(result)
    return levels if alpha is None else np.dstack([levels, alpha]), converted


def _covered_box(image: Image.Image) -> tuple[int, ...] | None:
    """Part of a GIF that its first frame covers, None for all of it; call before decoding, which fills the rest."""
    tile = getattr(image, "tile", None)
    box = tuple(tile[0][1]) if tile and getattr(image, "format", None) == "GIF" else None
    return None if box == (0, 0, *image.size) else box


def _clear_outside(levels: Levels, box: tuple[int, ...]) -> Levels:
    """Return levels whose alpha is 0 outside of a box, as viewers show what no frame covers."""
    left, top, right, bottom = box
    alpha = np.zeros(levels.shape[:2], levels.dtype)
    inside = np.s_[top:bottom, left:right]
    alpha[inside] = levels[..., 3][inside] if levels.shape[2] == 4 else np.iinfo(levels.dtype).max
    return np.dstack([levels[..., :3], alpha])


def keeps_size(orientation: int, upright: Levels) -> bool:
    """Whether a file of an orientation stores an image turned or mirrored at the size of its display."""
    is_square = upright.shape[0] == upright.shape[1]
    return orientation in _UPRIGHT and (orientation < _FIRST_SIDEWAYS or is_square)


def turn_upright(levels: NDArray[Any], orientation: int) -> NDArray[Any]:
    return np.ascontiguousarray(_UPRIGHT[orientation](levels)) if orientation in _UPRIGHT else levels


def orientation_of(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken EXIF is no reason to refuse the pixels
        return 1


def _split_alpha(image: Image.Image, name: str) -> tuple[Image.Image | NDArray[np.uint16], Levels | None]:
    """Colour in mode L, RGB or CMYK, or 16-bit grey levels (H, W), and the levels of alpha if it is not opaque."""
    if has_deep_channel(image):
        return _split_deep_alpha(image, name)
    if image.has_transparency_data:
        grey = image.mode in ("1", "L", "LA", "La")
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        return rgba.getchannel("R") if grey else rgba.convert("RGB"), np.asarray(rgba.getchannel("A"))
    if image.mode in ("1", "L"):
        return image.convert("L"), None
    return image.convert("CMYK" if image.mode == "CMYK" else "RGB"), None


def _split_deep_alpha(image: Image.Image, name: str) -> tuple[Image.Image | NDArray[np.uint16], Levels | None]:
    """Colour and alpha of an image with one channel of more than 8 bits, float ones in 8 bits."""
    values = deep_channel(image)
    if image.mode == "I":
        # Pillow opens 16-bit PNG and PNM files as 32-bit integers; in other files the value of white is unknown.
        if getattr(image, "format", None) not in ("PNG", "PPM") or values.min() < 0 or values.max() > 65535:
            raise BadImage(f"{name} has 32-bit integer pixels, whose white is unknown: save it as 16-bit PNG")
        values = values.astype(np.uint16)
    if values.dtype.kind == "f":
        return Image.fromarray(to_8_bits(levels_of(values, name))), None
    levels = values.astype(np.uint16)
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return levels, None
    return levels, np.where(levels == transparent, 0, 65535).astype(np.uint16)
