"""Embedded RGB colour profiles: conversion to sRGB and back in floating point, without clipping to sRGB's gamut."""

from __future__ import annotations

import dataclasses as dc
import functools
import io
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Values = NDArray[np.float32]

_TABLE_SIZE = 65536
_GRID = np.linspace(0, 1, _TABLE_SIZE)
_CHUNK = 2**16
"""Pixels converted at a time."""
_MAX_TAGS = 200
_LARGEST_CONDITION = 1000
"""Condition number of a matrix above which its primaries count as lying in a plane; that of ProPhoto RGB is 7."""
_LIGHTEST_BLACK = 0.184
"""Luminance up to which black is moved to 0: a lightness of 50, as in LittleCMS."""
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Mode of pixels by the colour space of a profile."""
# Without NOOPTIMIZE a profile becomes a coarse table: one of grey is several levels off in dark regions, and one of
# CMYK up to 30 levels.
_PRECISE = ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOOPTIMIZE


@dc.dataclass(frozen=True)
class ColourProfile:
    """An RGB profile of three curves and a matrix, as of displays and cameras, or one equal to sRGB.

    ``data`` are the bytes to embed. Colours are (..., 3) float32. In sRGB they may lie outside [0, 1]: such a colour is
    outside sRGB's gamut, and the way back gives its stored values. The curve of sRGB continues with odd symmetry below
    0.
    """

    data: bytes
    curves: tuple[NDArray[np.float64], ...] | None = dc.field(default=None, repr=False, compare=False)
    """Linear light at :data:`_TABLE_SIZE` even steps of each channel; None if the profile equals sRGB."""
    matrix: NDArray[np.float64] | None = dc.field(default=None, repr=False, compare=False)
    """From this profile's linear light to that of sRGB, (3, 3)."""

    def to_srgb(self, values: Values) -> Values:
        """Convert stored values in [0, 1], multiples of 1 / 255 or 1 / 65535, to sRGB."""
        if self.curves is None or self.matrix is None:
            return values
        curves, matrix = [curve.astype(np.float32) for curve in self.curves], self.matrix

        def convert(part: Values) -> Values:
            steps = np.rint(part * np.float32(_TABLE_SIZE - 1)).astype(np.uint16)
            return _encode_srgb(_mix([curves[i][steps[:, i]] for i in range(3)], matrix))

        return _in_chunks(values, convert)

    def from_srgb(self, colours: Values) -> Values:
        """Convert sRGB colours to stored values, clipped to [0, 1]."""
        if self.curves is None or self.matrix is None:
            return colours.clip(0, 1)
        inverse, tables = np.linalg.inv(self.matrix), self._inverse_curves

        def convert(part: Values) -> Values:
            # The tables have even steps of the root of linear light, as curves are steep near black.
            linear = _mix(list(_decode_srgb(part).T), inverse)
            place = np.sqrt(linear.clip(0, 1)) * np.float32(_TABLE_SIZE - 1)
            steps = np.minimum(place.astype(np.int32), _TABLE_SIZE - 2)
            rest = place - steps
            low, high = (np.stack([tables[i][steps[:, i] + k] for i in range(3)], axis=1) for k in (0, 1))
            return np.asarray(low + rest * (high - low), dtype=np.float32)

        return _in_chunks(colours, convert)

    @functools.cached_property
    def _inverse_curves(self) -> list[Values]:
        assert self.curves is not None
        return [np.interp(_GRID**2, curve, _GRID).astype(np.float32) for curve in self.curves]

    @functools.cached_property
    def name(self) -> str:
        """Description in the profile, for messages."""
        return profile_name(self.data)


def read_profile(data: bytes) -> ColourProfile | None:
    """Return the RGB profile in ``data``; None for one of another colour space, with look-up tables, or damaged."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data)).profile
        if profile.xcolor_space.strip() != "RGB":
            return None
        tags = _tags(data)
        if not {"rTRC", "gTRC", "bTRC"} <= set(tags) or any(name.startswith("A2B") for name in tags):
            return ColourProfile(data) if _equals_srgb(data, "RGB") else None
        curves = tuple(_curve(tags[name]) for name in ("rTRC", "gTRC", "bTRC"))
        # np.interp needs rising values to invert a curve.
        if any(np.any(np.diff(curve) < 0) or curve[-1] <= curve[0] for curve in curves):
            return None
        colorants = _colorants(profile)
        curves = _black_to_zero(curves, colorants[1])
        matrix = np.linalg.inv(_colorants(_srgb().profile)) @ colorants
        if not np.linalg.cond(matrix) < _LARGEST_CONDITION:
            return None
        candidate = ColourProfile(data, curves, matrix)
        probe = _probe("RGB").reshape(-1, 3).astype(np.float32) / np.float32(255)
        equals_srgb = np.abs(candidate.to_srgb(probe) - probe).max() <= 1 / 255
    except Exception:  # a broken profile is no reason to refuse the pixels
        return None
    return ColourProfile(data) if equals_srgb else candidate


def profile_name(data: bytes) -> str:
    """Return the description in a profile in quotes, for messages; "without a name" if it has none."""
    try:
        text = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(data)))
    except Exception:  # damaged
        text = ""
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:60]
    return repr(words) if words else "without a name"


def _profile_fault(data: bytes, mode: str) -> str | None:
    """Return why a profile is not used for pixels of a mode of PIL; None for one that equals sRGB."""
    is_grey = mode in ("1", "L", "LA", "La", "F") or mode.startswith("I")
    try:
        space = ImageCms.ImageCmsProfile(io.BytesIO(data)).profile.xcolor_space.strip()
        if (mode, space) == ("LAB", "Lab"):
            return None
        used_as = "CMYK" if mode == "CMYK" else "L" if is_grey and space != "RGB" else "RGB"
        if _MODES.get(space) != used_as:
            return f"is one for {space} colours"
        return None if used_as != "CMYK" and _equals_srgb(data, used_as) else "cannot be applied"
    except Exception:  # damaged
        return "is damaged"


def profile_note(icc: bytes, mode: str, converted: bool) -> str | None:
    """Return what becomes of a profile that is not kept; None for one that equals sRGB."""
    if converted:
        return f"has the colour profile {profile_name(icc)}, which is not kept: the result is in sRGB"
    fault = _profile_fault(icc, mode)
    return fault and f"has a colour profile that {fault}: it is left out, and colours are taken as sRGB"


def convert_to_srgb(colour: Image.Image, data: bytes) -> tuple[Image.Image, bool]:
    """Convert 8-bit pixels of mode L, RGB or CMYK by any profile of that mode to sRGB, mode RGB.

    Returns the image, and whether the profile was used: a damaged one, one of another mode, and one that equals sRGB
    to one level are not.
    """
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        mode = _MODES.get(profile.profile.xcolor_space.strip())
        if mode == "RGB" and colour.mode == "L":
            colour = colour.convert("RGB")
        if mode is None or mode != colour.mode or (mode != "CMYK" and _equals_srgb(data, mode)):
            return colour.convert("RGB"), False
        converted = ImageCms.applyTransform(colour, _transform(profile, mode))
        return (colour.convert("RGB"), False) if converted is None else (converted, True)
    except Exception:  # a broken profile is no reason to refuse the pixels
        return colour.convert("RGB"), False


def convert_deep_grey(levels: NDArray[np.uint16], data: bytes) -> NDArray[np.uint16] | None:
    """Convert 16-bit grey levels (H, W) by a grey or RGB profile to grey levels in sRGB.

    Returns None where the profile changes nothing, is damaged or of another colour space.
    """
    try:
        space = ImageCms.ImageCmsProfile(io.BytesIO(data)).profile.xcolor_space.strip()
        tags = _tags(data)
        name = {"GRAY": "kTRC", "RGB": "gTRC"}.get(space, "")
        if name not in tags:
            return None
        [curve] = _black_to_zero((_curve(tags[name]),), np.ones(1))
        table = _encode_srgb(curve.astype(np.float32))
    except Exception:  # a broken profile is no reason to refuse the pixels
        return None
    if np.abs(table - _GRID).max() <= 1 / 255:
        return None
    levels_in_srgb: NDArray[np.uint16] = np.rint(table.clip(0, 1) * (_TABLE_SIZE - 1)).astype(np.uint16)[levels]
    return levels_in_srgb


def _equals_srgb(data: bytes, mode: str) -> bool:
    """Whether a profile equals sRGB to one level, so that pixels can stay as they are, free of rounding."""
    probe = Image.fromarray(_probe(mode))
    converted = ImageCms.applyTransform(probe, _transform(ImageCms.ImageCmsProfile(io.BytesIO(data)), mode))
    if converted is None:
        return False
    difference = np.asarray(probe.convert("RGB"), dtype=np.int16) - np.asarray(converted, dtype=np.int16)
    return bool(np.abs(difference).max() <= 1)


def _transform(profile: ImageCms.ImageCmsProfile, mode: str) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        profile,
        _srgb(),
        mode,
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=_PRECISE,
    )


def _probe(mode: str) -> NDArray[np.uint8]:
    """Levels over the whole range of a mode as an image."""
    if mode == "L":
        return np.arange(256, dtype=np.uint8)[None]
    return np.stack(np.meshgrid(*[np.linspace(0, 255, 18, dtype=np.uint8)] * 3), axis=-1).reshape(18, -1, 3)


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _colorants(profile: Any) -> NDArray[np.float64]:
    """Columns are the XYZ of the three primaries under the D50 white of all profiles."""
    colorants = (profile.red_colorant, profile.green_colorant, profile.blue_colorant)
    return np.array([colorant[0] for colorant in colorants if colorant], dtype=np.float64).T


def _tags(data: bytes) -> dict[str, bytes]:
    """Return the tags of an ICC profile by signature (ICC.1:2010, section 7.3)."""
    (count,) = struct.unpack_from(">I", data, 128)
    if count > _MAX_TAGS:
        raise ValueError("too many tags")
    entries = [struct.unpack_from(">4sII", data, 132 + 12 * i) for i in range(count)]
    return {name.decode("latin-1"): data[start : start + size] for name, start, size in entries}


def _curve(tag: bytes) -> NDArray[np.float64]:
    """Return a tone curve as a table over :data:`_GRID` (ICC.1:2010, sections 10.5 and 10.15)."""
    kind, number = tag[:4], struct.unpack_from(">I", tag, 8)[0]
    if kind == b"curv":
        if number == 0:
            return _GRID.copy()
        entries = np.frombuffer(tag, ">u2", number, 12).astype(np.float64)
        if number == 1:
            return np.asarray(_GRID ** (entries[0] / 256), dtype=np.float64)
        return np.interp(_GRID, np.linspace(0, 1, number), entries / 65535)
    if kind != b"para" or number >> 16 > 4:
        raise ValueError("unknown curve")
    lengths = (1, 3, 4, 5, 7)
    numbers = np.frombuffer(tag, ">i4", lengths[number >> 16], 12) / 65536
    return _parametric(number >> 16, *numbers)


def _black_to_zero(
    curves: tuple[NDArray[np.float64], ...], luminances: NDArray[np.float64]
) -> tuple[NDArray[np.float64], ...]:
    """Return tone curves with black at 0 and white where it was (black point compensation, ISO 18619).

    ``luminances`` are those of the primaries.
    """
    starts = np.array([curve[0] for curve in curves])
    black = min(float(luminances @ starts / luminances.sum()), _LIGHTEST_BLACK)
    return tuple((curve - black) / (1 - black) for curve in curves)


def _parametric(
    kind: int, g: float, a: float = 1, b: float = 0, c: float = 0, d: float = 0, e: float = 0, f: float = 0
) -> NDArray[np.float64]:
    if kind == 2:
        c, d, e, f = 0, -b / a, c, c
    elif kind == 1:
        d = -b / a
    curved = np.maximum(a * _GRID + b, 0) ** g + e
    return np.where(d <= _GRID, curved, c * _GRID + f).clip(0, 1)


def _mix(channels: Sequence[Values], matrix: NDArray[Any]) -> Values:
    """Multiply linear light, three arrays (N,), by a matrix (3, 3); returns (N, 3)."""
    rows = [[np.float32(number) for number in row] for row in matrix]
    return np.stack([sum(number * one for number, one in zip(row, channels, strict=True)) for row in rows], axis=1)


def _encode_srgb(linear: Values) -> Values:
    size = np.abs(linear)
    curved = np.float32(1.055) * size ** np.float32(1 / 2.4) - np.float32(0.055)
    return np.copysign(np.where(size <= 0.0031308, size * np.float32(12.92), curved), linear)


def _decode_srgb(values: Values) -> Values:
    size = np.abs(values)
    curved = ((size + np.float32(0.055)) / np.float32(1.055)) ** np.float32(2.4)
    return np.copysign(np.where(size <= 0.04045, size / np.float32(12.92), curved), values)


def _in_chunks(values: Values, convert: Callable[[Values], Values]) -> Values:
    """Convert (..., 3) in parts, which takes less memory and stays in the processor's cache."""
    flat = values.reshape(-1, 3)
    result = np.empty(flat.shape, np.float32)
    for start in range(0, len(flat), _CHUNK):
        result[start : start + _CHUNK] = convert(flat[start : start + _CHUNK])
    return result.reshape(values.shape)
