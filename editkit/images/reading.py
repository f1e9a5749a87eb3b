"""Pictures come in here: every kind of file, array or object becomes an 8-bit sRGB picture, or one clear error."""

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
from .sources import Source, _check_size, _extent, _pixel_limit, _reason, describe, read_source

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")


_Made = TypeVar("_Made")


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


# Without NOOPTIMIZE a grey profile becomes a coarse table, several levels off in the dark.
_PRECISE = ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOOPTIMIZE


_PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


def open_image(source: Source, *, argument: str = "image") -> Image.Image:
    """Open a picture as what a viewer would show: upright, in sRGB, 8 bits a channel.

    ``source`` is a path, ``"-"`` (standard input), bytes, a binary file, a PIL image, or an array of shape (H, W),
    (H, W, 1), (H, W, 3) or (H, W, 4) and dtype bool, uint8, uint16 or float in [0, 1]. Returns a new picture without
    metadata, RGBA exactly when the source has transparency and RGB otherwise. Raises BadImage, naming ``argument``, for
    everything that is not one still picture within MAX_BYTES and MAX_PIXELS.
    """
    return _open(source, argument, managed=True)


def open_mask(source: Source, size: tuple[int, int], *, argument: str = "mask") -> Image.Image:
    """Open a mask as a grey picture: white is changed, black is kept, grey is in between.

    ``source`` is as for open_image; ``size`` is (width, height) in pixels. Colour becomes luminance, transparency
    becomes black, and an embedded colour profile is ignored, since a mask holds amounts and not colours. Returns mode
    L. Raises BadImage like open_image, and InvalidParameter for a mask of another size.
    """
    picture = _open(source, argument, managed=False)
    if picture.size != size:
        raise InvalidParameter(
            f"{describe(source, argument)} is {_extent(picture.size)} pixels but must be {_extent(size)} like the "
            "picture it belongs to: resize it"
        )
    return luminance(picture)


def open_values(source: Source, *, argument: str) -> NDArray[Any]:
    """Open what a picture measures, (H, W): uint8 luminance of 8 bits and of colour, deeper values as they are stored.

    ``source`` is as for open_image, and an array (H, W) or (H, W, 1) may hold whole or real numbers of any range.
    Transparency becomes 0, and an embedded colour profile is ignored. Raises BadImage like open_image.
    """
    if isinstance(source, np.ndarray):
        return _array_values(source, describe(source, argument))
    return _decoded(source, argument, _stored_values)


def _open(source: Source, argument: str, *, managed: bool) -> Image.Image:
    if isinstance(source, np.ndarray):
        return _from_array(source, describe(source, argument))
    return _decoded(source, argument, functools.partial(_decode, managed=managed))


def _decoded(source: Source, argument: str, decode: Callable[[Image.Image, str], _Made]) -> _Made:
    """What ``decode`` makes of a picture and of its name, which has been checked as far as its header tells."""
    name = describe(source, argument)
    picture = source if isinstance(source, Image.Image) else _parse(read_source(source, argument=argument), name)
    try:
        _check_still(picture, name)
        _check_size(picture.size, name)
        return decode(picture, name)
    except EditkitError:
        raise
    except Exception as error:  # decoders raise anything from SyntaxError to struct.error on damaged data
        kind = getattr(picture, "format", None) or "picture"
        raise BadImage(
            f"{name} cannot be read: its {kind} data are damaged or cut short ({_reason(error)}); get a whole copy"
        ) from error


def _parse(data: bytes, name: str) -> Image.Image:
    """Read the header only; nothing is decoded yet."""
    try:
        with warnings.catch_warnings():
            # Our own limit is below the one Pillow warns about.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise BadImage(f"{name} has too many pixels: {_pixel_limit()}") from None
    except UnidentifiedImageError:
        raise BadImage(
            f"{name} cannot be read: it is not a picture, or of another kind than {_ALLOWED}; convert it to PNG"
        ) from None
    except Exception as error:  # see _decoded
        raise BadImage(f"{name} cannot be read: its header is damaged ({_reason(error)}); get a whole copy") from error


def _check_still(picture: Image.Image, name: str) -> None:
    frames = getattr(picture, "n_frames", 1)
    # Cameras put a preview or a second view behind the photo (MPO); the first picture is the photo.
    if frames > 1 and getattr(picture, "format", None) != "MPO":
        raise BadImage(f"{name} has {frames} frames or pages: only still pictures are allowed; save one frame as PNG")


def _decode(picture: Image.Image, name: str, *, managed: bool) -> Image.Image:
    clear = _transparent_colour(picture)
    picture.load()
    _check_size(picture.size, name)
    orientation = _orientation(picture)
    profile = picture.info.get("icc_profile") if managed else None
    if clear is not None and clear != picture.info.get("transparency"):
        picture = picture.copy()
        picture.info["transparency"] = clear
    colour, alpha = _split(picture, name)
    result = _to_srgb(colour, profile) if profile else colour.convert("RGB")
    if alpha is not None:
        result.putalpha(alpha)
    result = _upright(result, orientation)
    result.info.clear()
    return result


def _upright(picture: Image.Image, orientation: int) -> Image.Image:
    turn = _UPRIGHT.get(orientation)
    return picture if turn is None else picture.transpose(turn)


def _stored_values(picture: Image.Image, name: str) -> NDArray[Any]:
    if _is_deep(picture):
        return np.asarray(_upright(picture, _orientation(picture)))
    return np.asarray(luminance(_decode(picture, name, managed=False)))


def _is_deep(picture: Image.Image) -> bool:
    """Whether it has one channel of more than 8 bits."""
    return picture.mode in ("I", "F") or picture.mode.startswith("I;16")


def _transparent_colour(picture: Image.Image) -> object:
    """The transparent colour in the units of the decoded pixels; asked before decoding, which forgets the bit depth."""
    clear = picture.info.get("transparency")
    tile = getattr(picture, "tile", None)
    depth = tile[0].args if tile else None
    if isinstance(clear, int) and depth in ("L;2", "L;4"):
        return clear * (85 if depth == "L;2" else 17)
    if isinstance(clear, tuple) and depth == "RGB;16B":
        return tuple(level >> 8 for level in clear)
    return clear


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken EXIF is no reason to refuse the pixels
        return 1


def _split(picture: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """Colour in mode L, RGB or CMYK, and alpha in mode L where the picture has transparency."""
    if _is_deep(picture):
        return _split_deep(picture, name)
    if picture.has_transparency_data:
        grey = picture.mode in ("1", "L", "LA", "La")
        rgba = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
        return rgba.getchannel("R") if grey else rgba.convert("RGB"), rgba.getchannel("A")
    if picture.mode in ("1", "L"):
        return picture.convert("L"), None
    return picture.convert("CMYK" if picture.mode == "CMYK" else "RGB"), None


def _split_deep(picture: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """The same for one channel of more than 8 bits."""
    values = np.asarray(picture)
    if picture.mode == "I":
        # Pillow gives 16-bit PNG and PNM files as 32-bit integers; elsewhere nothing says what is white.
        if getattr(picture, "format", None) not in ("PNG", "PPM") or values.min() < 0 or values.max() > 65535:
            raise BadImage(f"{name} has 32-bit integer pixels, whose white is unknown: save it as 16-bit PNG")
        values = values.astype(np.uint16)
    grey = Image.fromarray(_levels(values, name))
    clear = picture.info.get("transparency")
    alpha = Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)) if isinstance(clear, int) else None
    return grey, alpha


def _to_srgb(colour: Image.Image, data: bytes) -> Image.Image:
    """Convert from the embedded profile ``data``; a broken profile, or one of another kind, changes nothing."""
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
        if mode == "RGB" and _changes_nothing(transform):
            return colour
        converted = ImageCms.applyTransform(colour, transform)
        return colour.convert("RGB") if converted is None else converted
    except Exception:  # a broken profile is no reason to refuse the pixels
        return colour.convert("RGB")


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a profile is sRGB under another name: then the pixels stay bit-identical, free of rounding."""
    cube = np.stack(np.meshgrid(*[np.linspace(0, 255, 18, dtype=np.uint8)] * 3), axis=-1).reshape(18, -1, 3)
    probe = Image.fromarray(cube)
    converted = ImageCms.applyTransform(probe, transform)
    return converted is not None and largest_difference(probe, converted) <= 1


def _from_array(array: NDArray[Any], name: str) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise BadImage(f"{name} has the wrong shape: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) is allowed")
    height, width = array.shape[:2]
    _check_size((width, height), name)
    levels = _levels(array[..., 0] if array.shape[2:] == (1,) else array, name)
    picture = Image.fromarray(np.ascontiguousarray(levels))
    return picture if picture.mode == "RGBA" else picture.convert("RGB")


def _array_values(array: NDArray[Any], name: str) -> NDArray[Any]:
    flat = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if flat.ndim != 2 or flat.dtype in (np.uint8, np.bool_):
        return np.asarray(luminance(_from_array(array, name)))
    _check_size((flat.shape[1], flat.shape[0]), name)
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
