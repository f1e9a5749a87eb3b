"""Open files, arrays and image objects as 8-bit sRGB images, masks or stored values."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from ..errors import BadImage, EditkitError, InvalidParameter
from .conversion import luminance
from .metrics import largest_difference
from .sources import Source, check_size, describe, format_size, pixel_limit, read_source, reason_text

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")

_Decoded = TypeVar("_Decoded")

_ALLOWED = "PNG, JPEG, WebP, BMP, TIFF, GIF, PNM"
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


# Without NOOPTIMIZE a grey profile becomes a coarse table, several levels off in dark regions.
_PRECISE = ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOOPTIMIZE
_PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


def open_image(source: Source, *, argument: str = "image") -> Image.Image:
    """Open an image as a viewer displays it: upright, in sRGB, 8 bits per channel.

    ``source`` is a path, ``"-"`` (standard input), bytes, a binary file, a PIL image, or an array of shape (H, W),
    (H, W, 1), (H, W, 3) or (H, W, 4) and dtype bool, uint8, uint16 or float in [0, 1]. Returns a new image without
    metadata, in mode RGBA if the source has transparency and RGB otherwise. Raises BadImage, naming ``argument``, for
    anything but one still image within MAX_BYTES and MAX_PIXELS.
    """
    return _open(source, argument, use_profile=True)


def open_mask(source: Source, size: tuple[int, int], *, argument: str = "mask") -> Image.Image:
    """Open a mask as a grey image: white changes, black stays, grey is in between.

    ``source`` is as for open_image; ``size`` is (width, height) in pixels. Colour becomes luminance, transparency
    becomes black, and an embedded colour profile is ignored, since a mask holds amounts, not colours. Returns mode L.
    Raises BadImage like open_image, and InvalidParameter for a mask of another size.
    """
    image = _open(source, argument, use_profile=False)
    if image.size != size:
        raise InvalidParameter(
            f"{describe(source, argument)} is {format_size(image.size)} pixels but must be {format_size(size)} like "
            "the image it belongs to: resize it"
        )
    return luminance(image)


def open_values(source: Source, *, argument: str) -> NDArray[Any]:
    """Open the values of an image, (H, W): uint8 luminance of 8-bit or colour images, deeper values as stored.

    ``source`` is as for open_image, and an array (H, W) or (H, W, 1) may hold whole or real numbers of any range.
    Transparency becomes 0, and an embedded colour profile is ignored. Raises BadImage like open_image.
    """
    if isinstance(source, np.ndarray):
        return _array_values(source, describe(source, argument))
    return _open_checked(source, argument, _stored_values)


def _open(source: Source, argument: str, *, use_profile: bool) -> Image.Image:
    if isinstance(source, np.ndarray):
        return _from_array(source, describe(source, argument))
    return _open_checked(source, argument, functools.partial(_decode, use_profile=use_profile))


def _open_checked(source: Source, argument: str, decode: Callable[[Image.Image, str], _Decoded]) -> _Decoded:
    """Check the header of an image, then return ``decode(image, name)``."""
    name = describe(source, argument)
    image = source if isinstance(source, Image.Image) else _parse(read_source(source, argument=argument), name)
    try:
        _check_still(image, name)
        check_size(image.size, name)
        return decode(image, name)
    except EditkitError:
        raise
    except Exception as error:  # decoders raise anything from SyntaxError to struct.error on damaged data
        kind = getattr(image, "format", None) or "image"
        raise BadImage(
            f"{name} cannot be read: its {kind} data are damaged or cut short ({reason_text(error)}); get a whole copy"
        ) from error


def _parse(data: bytes, name: str) -> Image.Image:
    """Read the header without decoding pixels."""
    try:
        with warnings.catch_warnings():
            # MAX_PIXELS is below the size that Pillow warns about.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise BadImage(f"{name} has too many pixels: {pixel_limit()}") from None
    except UnidentifiedImageError:
        raise BadImage(
            f"{name} cannot be read: it is not an image, or of another kind than {_ALLOWED}; convert it to PNG"
        ) from None
    except Exception as error:  # see _open_checked
        raise BadImage(
            f"{name} cannot be read: its header is damaged ({reason_text(error)}); get a whole copy"
        ) from error


def _check_still(image: Image.Image, name: str) -> None:
    frames = getattr(image, "n_frames", 1)
    # Cameras store a preview or a second view behind the photo (MPO); the first image is the photo.
    if frames > 1 and getattr(image, "format", None) != "MPO":
        raise BadImage(f"{name} has {frames} frames or pages: only still images are allowed; save one frame as PNG")


def _decode(image: Image.Image, name: str, *, use_profile: bool) -> Image.Image:
    transparent = _transparent_colour(image)
    image.load()
    check_size(image.size, name)
    orientation = _orientation(image)
    profile = image.info.get("icc_profile") if use_profile else None
    if transparent is not None and transparent != image.info.get("transparency"):
        image = image.copy()
        image.info["transparency"] = transparent
    colour, alpha = _split_alpha(image, name)
    result = _to_srgb(colour, profile) if profile else colour.convert("RGB")
    if alpha is not None:
        result.putalpha(alpha)
    result = _upright(result, orientation)
    result.info.clear()
    return result


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


def _stored_values(image: Image.Image, name: str) -> NDArray[Any]:
    if _is_deep(image):
        return np.asarray(_upright(image, _orientation(image)))
    return np.asarray(luminance(_decode(image, name, use_profile=False)))


def _is_deep(image: Image.Image) -> bool:
    """True if the image has one channel of more than 8 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _transparent_colour(image: Image.Image) -> object:
    """Transparent colour in the units of the decoded pixels; call before decoding, which discards the bit depth."""
    transparent = image.info.get("transparency")
    tile = getattr(image, "tile", None)
    depth = tile[0][3] if tile else None
    if isinstance(transparent, int) and depth == "1":
        return 255 if transparent else 0  # older Pillow versions give the bit itself
    if isinstance(transparent, int) and depth in ("L;2", "L;4"):
        return transparent * (85 if depth == "L;2" else 17)
    if isinstance(transparent, tuple) and depth == "RGB;16B":
        return tuple(level >> 8 for level in transparent)
    return transparent


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken EXIF is no reason to refuse the pixels
        return 1


def _split_alpha(image: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """Colour in mode L, RGB or CMYK, and alpha in mode L, or None for an opaque image."""
    if _is_deep(image):
        return _split_deep_alpha(image, name)
    if image.has_transparency_data:
        grey = image.mode in ("1", "L", "LA", "La")
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        return rgba.getchannel("R") if grey else rgba.convert("RGB"), rgba.getchannel("A")
    if image.mode in ("1", "L"):
        return image.convert("L"), None
    return image.convert("CMYK" if image.mode == "CMYK" else "RGB"), None


def _split_deep_alpha(image: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """Colour and alpha, both in mode L, of an image with one channel of more than 8 bits."""
    values = np.asarray(image)
    if image.mode == "I":
        # Pillow opens 16-bit PNG and PNM files as 32-bit integers; in other files the value of white is unknown.
        if getattr(image, "format", None) not in ("PNG", "PPM") or values.min() < 0 or values.max() > 65535:
            raise BadImage(f"{name} has 32-bit integer pixels, whose white is unknown: save it as 16-bit PNG")
        values = values.astype(np.uint16)
    grey = Image.fromarray(_levels(values, name))
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return grey, None
    return grey, Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))


def _to_srgb(colour: Image.Image, data: bytes) -> Image.Image:
    """Convert from the embedded profile ``data``; a damaged profile, or one of another mode, is ignored."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        mode = _PROFILE_MODES.get(profile.profile.xcolor_space.strip())
        if mode == "RGB" and colour.mode == "L":
            colour = colour.convert("RGB")
        if mode != colour.mode:
            return colour.convert("RGB")
        transform = ImageCms.buildTransform(
            profile,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=_PRECISE if mode == "L" else ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if mode == "RGB" and _is_identity(transform):
            return colour
        converted = ImageCms.applyTransform(colour, transform)
        return colour.convert("RGB") if converted is None else converted
    except Exception:  # a broken profile is no reason to refuse the pixels
        return colour.convert("RGB")


def _is_identity(transform: ImageCms.ImageCmsTransform) -> bool:
    """True if a profile equals sRGB to one level, so that pixels can stay bit-identical, free of rounding."""
    cube = np.stack(np.meshgrid(*[np.linspace(0, 255, 18, dtype=np.uint8)] * 3), axis=-1).reshape(18, -1, 3)
    probe = Image.fromarray(cube)
    converted = ImageCms.applyTransform(probe, transform)
    return converted is not None and largest_difference(probe, converted) <= 1


def _from_array(array: NDArray[Any], name: str) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise BadImage(f"{name} has the wrong shape: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) is allowed")
    height, width = array.shape[:2]
    check_size((width, height), name)
    levels = _levels(array[..., 0] if array.shape[2:] == (1,) else array, name)
    image = Image.fromarray(np.ascontiguousarray(levels))
    return image if image.mode == "RGBA" else image.convert("RGB")


def _array_values(array: NDArray[Any], name: str) -> NDArray[Any]:
    flat = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if flat.ndim != 2 or flat.dtype in (np.uint8, np.bool_):
        return np.asarray(luminance(_from_array(array, name)))
    check_size((flat.shape[1], flat.shape[0]), name)
    if flat.dtype.kind not in "uif":
        raise BadImage(f"{name} has the wrong dtype: whole or real numbers are allowed; convert it")
    return flat


def _levels(values: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """8-bit levels of bool, uint8, uint16 or float in [0, 1]."""
    if values.dtype == np.uint8:
        return np.array(values, dtype=np.uint8)
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if values.dtype.kind != "f":
        raise BadImage(f"{name} has the wrong dtype: bool, uint8, uint16 or float in [0, 1] is allowed; convert it")
    if not np.isfinite(values).all():
        raise BadImage(f"{name} has NaN or infinite pixels: floats must lie in [0, 1]; replace them")
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        raise BadImage(f"{name} has float pixels from {low:g} to {high:g}: floats must lie in [0, 1]; rescale them")
    return np.rint(values.astype(np.float64) * 255).astype(np.uint8)
