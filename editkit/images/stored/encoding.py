"""Encode stored images as files: pixels, colour profile and metadata, as far as each format holds them."""

from __future__ import annotations

import dataclasses as dc
import io
import numbers
import struct
from typing import Any, Literal, get_args

from PIL import Image, TiffImagePlugin, features
from PIL.ExifTags import IFD
from PIL.PngImagePlugin import PngInfo

from ...errors import InvalidParameter
from .deep import encode_deep_png, encode_tiff, insert_png_chunks
from .image import StoredImage, to_8_bits
from .metadata import as_stored, parse_exif
from .recipe_xmp import add_recipe, fits

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
} | ({".avif": "AVIF"} if features.check("avif") else {})
"""Format by file suffix."""

_NAMES = {"JPEG": "JPEG", "WEBP": "WebP", "AVIF": "AVIF", "PNG": "PNG", "TIFF": "TIFF"}
_DEFAULT_QUALITY = {"JPEG": 95, "AVIF": 90}
_FULL_CHROMA = 90
"""Quality from which colour is not subsampled."""


_LONGEST_SIDES = {"JPEG": 65535, "WEBP": 16383}
ENCODER_ERRORS = (OSError, ValueError, RuntimeError, OverflowError, struct.error)
"""Exceptions of Pillow's encoders for a size that a format cannot hold: each raises another one."""

RecipeContent = Literal["text", "full", "none"]
"""The recipe as text, with source and masks, or not at all."""


def _is_quality(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and 1 <= int(value) <= 100


@dc.dataclass(frozen=True)
class Encoding:
    """Choices for a file."""

    quality: int | None = None
    """1 to 100 for JPEG, AVIF (default 95 and 90) and a lossy WebP; None for the default, a lossless WebP."""
    keep_gps: bool = False
    """Whether the position in the source's metadata is kept."""
    recipe: RecipeContent = "text"
    """Part of the recipe that is stored."""

    def __post_init__(self) -> None:
        if self.recipe not in get_args(RecipeContent):
            raise InvalidParameter(f"recipe={self.recipe!r} is not allowed: text, full or none")
        if self.quality is not None and not _is_quality(self.quality):
            raise InvalidParameter(f"quality={self.quality!r} is not allowed: a whole number from 1 to 100")

    def check(self, suffix: str, size: tuple[int, int] | None = None) -> None:
        """Raise InvalidParameter for a quality in a format that is always lossless, and for images in any but PNG."""
        kind = "GIF" if suffix.lower() == ".gif" else FORMATS.get(suffix.lower() or ".png", "")
        if size is not None and max(size) > _LONGEST_SIDES.get(kind, max(size)):
            raise InvalidParameter(
                f"a result of {size[0]} x {size[1]} pixels does not fit in {suffix}, whose sides have at most "
                f"{_LONGEST_SIDES[kind]} pixels: save it as .png"
            )
        if self.recipe == "full" and kind != "PNG":
            raise InvalidParameter(
                f"recipe='full' embeds source and masks, which {suffix} does not hold: save as .png, or keep the "
                "source and leave it out"
            )
        if self.quality is not None and kind in ("PNG", "TIFF", "GIF"):
            raise InvalidParameter(
                f"quality={self.quality} has no effect in {kind}: leave it out, or save as .jpg, .webp or .avif"
            )


DEFAULT = Encoding()


def encode_stored(image: StoredImage, suffix: str, encoding: Encoding, recipe: str | None = None) -> bytes:
    """Encode an image in the format of a suffix in FORMATS; the recipe of a PNG is written by encode_png."""
    kind = FORMATS[suffix.lower()]
    if kind == "PNG":
        return encode_png_file(image, PngInfo(), encoding)
    metadata = image.metadata
    exif = metadata.exif_to_write(keep_gps=encoding.keep_gps, add_dpi=kind in ("WEBP", "AVIF"))
    xmp = metadata.xmp_to_write(keep_gps=encoding.keep_gps)
    if recipe is not None and fits(recipe, xmp, kind):
        xmp = add_recipe(xmp, recipe)
    if kind == "TIFF":
        return encode_tiff(image.levels, _tiff_tags(image, exif, xmp))
    options = _options(kind, encoding) | {"icc_profile": image.icc, "exif": exif}
    options |= {"xmp": xmp, "dpi": metadata.dpi if kind == "JPEG" else None}
    levels = image.on_white_8_bits() if kind == "JPEG" else to_8_bits(image.levels)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, kind, **{name: value for name, value in options.items() if value})
    return buffer.getvalue()


def encode_png_file(image: StoredImage, chunks: PngInfo, encoding: Encoding) -> bytes:
    """Encode an image as PNG with its profile, its metadata and further chunks."""
    if image.depth > 8:
        pixels = encode_deep_png(image.levels)
    else:
        buffer = io.BytesIO()
        Image.fromarray(image.levels).save(buffer, "PNG")
        pixels = buffer.getvalue()
    metadata, own = image.metadata, PngInfo()
    for key, text in metadata.texts:
        own.add_text(key, text)
    if xmp := metadata.xmp_to_write(keep_gps=encoding.keep_gps):
        own.add_itxt("XML:com.adobe.xmp", xmp)
    if exif := metadata.exif_to_write(keep_gps=encoding.keep_gps):
        own.add(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    if metadata.dpi:
        own.add(b"pHYs", b"".join(round(dots / 0.0254).to_bytes(4) for dots in metadata.dpi) + b"\1")
    own.chunks += chunks.chunks
    return insert_png_chunks(pixels, image.icc, own)


def _tiff_tags(image: StoredImage, exif: bytes, xmp: bytes) -> dict[int, Any]:
    """Tags of a TIFF with the profile and the metadata of an image."""
    source = parse_exif(exif)
    tags: dict[int, Any] = as_stored(source)
    for ifd in (IFD.Exif, IFD.GPSInfo):
        if entries := source.get_ifd(ifd):
            tags[ifd] = as_stored(entries)
    if dpi := image.metadata.dpi:
        tags |= {TiffImagePlugin.X_RESOLUTION: dpi[0], TiffImagePlugin.Y_RESOLUTION: dpi[1]}
        tags |= {TiffImagePlugin.RESOLUTION_UNIT: 2}
    if image.icc:
        tags[TiffImagePlugin.ICCPROFILE] = image.icc
    if xmp:
        tags[TiffImagePlugin.XMP] = xmp
    return tags


def _options(kind: str, encoding: Encoding) -> dict[str, Any]:
    quality = encoding.quality or _DEFAULT_QUALITY.get(kind)
    if kind in ("JPEG", "AVIF"):
        assert quality is not None
        return {"quality": quality, "subsampling": "4:4:4" if quality >= _FULL_CHROMA else "4:2:0"}
    return {"lossless": True, "exact": True} if quality is None else {"quality": quality, "exact": True}


def losses(
    image: StoredImage, suffix: str, encoding: Encoding, untouched: int | None, recipe: str | None = None
) -> list[str]:
    """Return sentences about what a file in this format does not hold; ``untouched`` is measured outside the mask."""
    kind = FORMATS[suffix.lower() or ".png"]
    name, texts = _NAMES[kind], []
    if kind == "JPEG" and image.alpha is not None and image.levels[..., 3].min() < image.maximum:
        texts.append("JPEG has no transparency: the image is laid on white; save as .png, .webp or .avif to keep it")
    if recipe is not None and not fits(recipe, image.metadata.xmp_to_write(keep_gps=encoding.keep_gps), kind):
        texts.append(
            f"{name} does not hold the recipe, which has {len(recipe.encode())} bytes: save as .png to keep it"
        )
    if kind not in ("PNG", "TIFF") and image.depth > 8:
        texts.append(f"{name} is written with 8 bits per channel, the image has 16: save as .png to keep them")
    lossy = kind in ("JPEG", "AVIF") or (kind == "WEBP" and encoding.quality is not None)
    if lossy and untouched:
        texts.append(
            f"{name} is lossy: pixels that the edit left alone differ by up to {untouched} levels in the file; save "
            "as .png or as a lossless .webp to keep them"
        )
    return texts
