"""Contact sheets: labelled pictures side by side, to compare before and after at a glance."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import InvalidParameter
from .reading import open_image
from .sources import MAX_PIXELS

_WHITE = (255, 255, 255)

_INK = (32, 33, 36)

_OUTLINE = (208, 210, 214)

_SQUARE = 8
_SQUARE_LEVELS = (255, 226)

_LABEL_LINES = 2
_MAX_COLUMNS = 4
_ELLIPSIS = "..."
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw_sheet(
    pictures: Sequence[tuple[str, Image.Image]], *, columns: int | None = None, tile: int = 256
) -> Image.Image:
    """Draw labelled pictures in rows on white, each fitted to a square of ``tile`` pixels with its label below.

    Small pictures grow by a whole factor with hard pixel edges, others are resampled to fit; transparency shows as a
    checkerboard. ``columns`` is 1 or more, by default up to 4; ``tile`` is 32..2048 pixels. Returns mode RGB. Raises
    InvalidParameter for no pictures, values out of range or a sheet too large, and BadImage for an unusable picture.
    """
    _check(len(pictures), columns, tile)
    columns = min(columns or _even_columns(len(pictures)), len(pictures))
    size = max(12, min(36, tile // 14))
    font, gap, line = ImageFont.load_default(size), max(12, tile // 14), round(size * 1.35)
    shown = [(_wrap(label, font, tile), _fit(open_image(picture), tile)) for label, picture in pictures]
    rows = [shown[start : start + columns] for start in range(0, len(shown), columns)]
    heights = [max(picture.height for _, picture in row) for row in rows]
    labels = [line * max(len(label) for label, _ in row) for row in rows]
    width = gap + columns * (tile + gap)
    height = gap + sum(heights) + sum(labels) + len(rows) * (gap // 2 + gap)
    if width * height > MAX_PIXELS:
        raise InvalidParameter(f"the sheet would be {width} x {height} pixels: choose a smaller tile or fewer pictures")
    sheet = Image.new("RGB", (width, height), _WHITE)
    top = gap
    for row, row_height, label_height in zip(rows, heights, labels, strict=True):
        for column, (label, picture) in enumerate(row):
            left = gap + column * (tile + gap)
            _place(sheet, picture, (left + (tile - picture.width) // 2, top + (row_height - picture.height) // 2))
            _write(sheet, label, font, (left + tile // 2, top + row_height + gap // 2), line)
        top += row_height + gap // 2 + label_height + gap
    return sheet


def _check(count: int, columns: int | None, tile: int) -> None:
    if count == 0:
        raise InvalidParameter("pictures is empty: pass at least one (label, picture) pair")
    if columns is not None and columns < 1:
        raise InvalidParameter(f"columns is {columns}, but must be 1 or more")
    if not 32 <= tile <= 2048:
        raise InvalidParameter(f"tile is {tile}, but must lie in 32..2048 pixels")


def _even_columns(count: int) -> int:
    """The columns that fill the fewest rows most evenly: 6 pictures stand in two rows of 3, not 4 and 2."""
    return math.ceil(count / math.ceil(count / _MAX_COLUMNS))


def _fit(picture: Image.Image, tile: int) -> Image.Image:
    """The picture in mode RGB with its longer side at most ``tile``."""
    longest = max(picture.size)
    factor = tile // longest
    if factor >= 2:
        scaled = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    else:
        width, height = (max(1, round(side * tile / longest)) for side in picture.size)
        scaled = picture.resize((width, height), Image.Resampling.LANCZOS)
    if scaled.mode == "RGB":
        return scaled
    return Image.alpha_composite(_checkerboard(scaled.size), scaled).convert("RGB")


def _checkerboard(size: tuple[int, int]) -> Image.Image:
    y, x = np.indices((size[1], size[0])) // _SQUARE
    levels = np.where((x + y) % 2 == 0, *_SQUARE_LEVELS).astype(np.uint8)
    return Image.fromarray(levels).convert("RGBA")


def _wrap(label: str, font: _Font, width: int) -> list[str]:
    """The label in at most two lines of ``width`` pixels; what does not fit gives way to an ellipsis."""
    words, lines = label.split(), [""]
    for index, word in enumerate(words):
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        elif len(lines) < _LABEL_LINES and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = " ".join([lines[-1], *words[index:]]).strip()
            break
    return [_shorten(line, font, width) for line in lines]


def _shorten(line: str, font: _Font, width: int) -> str:
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + _ELLIPSIS) > width:
        line = line[:-1]
    return line.rstrip() + _ELLIPSIS


def _place(sheet: Image.Image, picture: Image.Image, corner: tuple[int, int]) -> None:
    left, top = corner
    # Without the outline a white picture would vanish on the white sheet.
    frame = (left - 1, top - 1, left + picture.width, top + picture.height)
    ImageDraw.Draw(sheet).rectangle(frame, outline=_OUTLINE)
    sheet.paste(picture, corner)


def _write(sheet: Image.Image, label: list[str], font: _Font, top_centre: tuple[int, int], line: int) -> None:
    draw = ImageDraw.Draw(sheet)
    for index, text in enumerate(label):
        draw.text((top_centre[0], top_centre[1] + index * line), text, fill=_INK, font=font, anchor="ma")
