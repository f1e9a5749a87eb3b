"""Contact sheets: labelled images side by side, to compare before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import InvalidParameter
from ..registry.arguments import PAIRS, WHOLE, check_arguments
from .reading import open_image
from .sources import MAX_PIXELS

_WHITE = (255, 255, 255)
_INK = (32, 33, 36)
_OUTLINE = (208, 210, 214)
_SQUARE = 8
_SQUARE_LEVELS = (255, 226)
_MAX_COLUMNS = 4
_ELLIPSIS = "..."
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@check_arguments(images=PAIRS, columns=WHOLE.or_none(), tile=WHOLE, lines=WHOLE)
def draw_sheet(
    images: Sequence[tuple[str, Image.Image]], *, columns: int | None = None, tile: int = 256, lines: int = 2
) -> Image.Image:
    """Draw labelled images in rows on white, each fitted to a square of ``tile`` pixels with its label below.

    Small images are enlarged by a whole factor with nearest-neighbour resampling, others are resampled to fit;
    transparency is shown as a checkerboard. ``columns`` is 1 or more, by default up to 4; ``tile`` is 32..2048 pixels.
    A label has at most ``lines`` lines.
    Returns mode RGB. Raises InvalidParameter for no images, values out of range or a sheet too large, and BadImage for
    an unusable image.
    """
    _check(len(images), columns, tile, lines)
    columns = min(columns or _even_columns(len(images)), len(images))
    size = max(12, min(36, tile // 14))
    font, gap, line = ImageFont.load_default(size), max(12, tile // 14), round(size * 1.35)
    tiles = [(_wrap(label, font, tile, lines), _fit(open_image(image), tile)) for label, image in images]
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    heights = [max(image.height for _, image in row) for row in rows]
    labels = [line * max(len(label) for label, _ in row) for row in rows]
    width = gap + columns * (tile + gap)
    height = gap + sum(heights) + sum(labels) + len(rows) * (gap // 2 + gap)
    if width * height > MAX_PIXELS:
        raise InvalidParameter(f"the sheet would be {width} x {height} pixels: choose a smaller tile or fewer images")
    sheet = Image.new("RGB", (width, height), _WHITE)
    top = gap
    for row, row_height, label_height in zip(rows, heights, labels, strict=True):
        for column, (label, image) in enumerate(row):
            left = gap + column * (tile + gap)
            _place(sheet, image, (left + (tile - image.width) // 2, top + (row_height - image.height) // 2))
            _write(sheet, label, font, (left + tile // 2, top + row_height + gap // 2), line)
        top += row_height + gap // 2 + label_height + gap
    return sheet


def _check(count: int, columns: int | None, tile: int, lines: int) -> None:
    if count == 0:
        raise InvalidParameter("images is empty: pass at least one (label, image) pair")
    if columns is not None and columns < 1:
        raise InvalidParameter(f"columns is {columns}, but must be 1 or more")
    if lines < 1:
        raise InvalidParameter(f"lines is {lines}, but must be 1 or more")
    if not 32 <= tile <= 2048:
        raise InvalidParameter(f"tile is {tile}, but must lie in 32..2048 pixels")


def _even_columns(count: int) -> int:
    """Number of columns that fills the fewest rows most evenly: 6 images form two rows of 3, not of 4 and 2."""
    return math.ceil(count / math.ceil(count / _MAX_COLUMNS))


def _fit(image: Image.Image, tile: int) -> Image.Image:
    """Scale an image to ``tile`` pixels on its longer side, or to the largest whole factor within; mode RGB."""
    longest = max(image.size)
    factor = tile // longest
    if factor >= 2:
        scaled = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    else:
        width, height = (max(1, round(side * tile / longest)) for side in image.size)
        scaled = image.resize((width, height), Image.Resampling.LANCZOS)
    if scaled.mode == "RGB":
        return scaled
    return Image.alpha_composite(_checkerboard(scaled.size), scaled).convert("RGB")


def _checkerboard(size: tuple[int, int]) -> Image.Image:
    y, x = np.indices((size[1], size[0])) // _SQUARE
    levels = np.where((x + y) % 2 == 0, *_SQUARE_LEVELS).astype(np.uint8)
    return Image.fromarray(levels).convert("RGBA")


def _wrap(label: str, font: _Font, width: int, most: int) -> list[str]:
    """Break a label into at most ``most`` lines of ``width`` pixels; an ellipsis replaces the rest."""
    words, lines = label.split(), [""]
    for index, word in enumerate(words):
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        elif len(lines) < most and lines[-1]:
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


def _place(sheet: Image.Image, image: Image.Image, corner: tuple[int, int]) -> None:
    left, top = corner
    # Without the outline the border of a white image would be invisible on the white sheet.
    frame = (left - 1, top - 1, left + image.width, top + image.height)
    ImageDraw.Draw(sheet).rectangle(frame, outline=_OUTLINE)
    sheet.paste(image, corner)


def _write(sheet: Image.Image, label: list[str], font: _Font, top_centre: tuple[int, int], line: int) -> None:
    draw = ImageDraw.Draw(sheet)
    for index, text in enumerate(label):
        draw.text((top_centre[0], top_centre[1] + index * line), text, fill=_INK, font=font, anchor="ma")
