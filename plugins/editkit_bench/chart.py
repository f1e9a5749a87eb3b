"""Bar chart of the ratios: one bar per row for each side of diffusers, and a line at equal times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

WHITE, INK, LINE = (255, 255, 255), (32, 33, 36), (150, 154, 160)
COLOURS = {"time_ratio": (46, 110, 190), "time_ratio_tuned": (232, 150, 60)}
LABELS = {"time_ratio": "to diffusers by default", "time_ratio_tuned": "to diffusers tuned by hand"}
PALE = 0.6
"""Fraction of white in the bars of rows whose mathematics differ."""
NAMES_WIDTH, BARS_WIDTH, VALUES_WIDTH, BAR, GAP, TOP = 330, 520, 70, 13, 16, 76
"""Pixels: widths of the three columns, height of a bar, gap between rows, space above the first row."""


def draw_chart(rows: Sequence[Mapping[str, Any]]) -> Image.Image:
    """Draw the rows of a table of comparisons; the shorter a bar, the faster editkit is."""
    names = list(COLOURS)
    height = TOP + len(rows) * (len(names) * BAR + GAP) + GAP
    chart = Image.new("RGB", (NAMES_WIDTH + BARS_WIDTH + VALUES_WIDTH, height), WHITE)
    draw, font = ImageDraw.Draw(chart), ImageFont.load_default(13)
    longest = max([1.25, *(row[name] for row in rows for name in names if row[name] is not None)])
    _draw_legend(draw, font)
    top = TOP
    for row in rows:
        draw.text((NAMES_WIDTH - 10, top + BAR), f"{row['operation']} ({row['model']})", INK, font, anchor="rm")
        for name in names:
            if row[name] is not None:
                right = NAMES_WIDTH + round(row[name] / longest * BARS_WIDTH)
                draw.rectangle(
                    (NAMES_WIDTH, top + 1, right, top + BAR - 1), fill=_shade(COLOURS[name], row["same_maths"])
                )
                draw.text((right + 6, top + BAR // 2), f"{row[name]:.2f}", INK, font, anchor="lm")
            top += BAR
        top += GAP
    even = NAMES_WIDTH + round(BARS_WIDTH / longest)
    draw.line((even, TOP - 8, even, height - GAP), LINE, 1)
    return chart


def _draw_legend(draw: ImageDraw.ImageDraw, font: Any) -> None:
    draw.text(
        (16, 12), "Time of editkit divided by that of the same edit by diffusers", INK, ImageFont.load_default(16)
    )
    left = 16
    for name, label in [*LABELS.items(), ("pale", "pale: other mathematics")]:
        colour = COLOURS.get(name, _shade(INK, False))
        draw.rectangle((left, 44, left + 12, 56), fill=colour)
        draw.text((left + 18, 50), label, INK, font, anchor="lm")
        left += 44 + round(draw.textlength(label, font))


def _shade(colour: tuple[int, int, int], same_maths: bool) -> tuple[int, int, int]:
    """Return the colour of a bar, pale if the mathematics of its row differ."""
    if same_maths:
        return colour
    red, green, blue = (round(level + PALE * (255 - level)) for level in colour)
    return red, green, blue
