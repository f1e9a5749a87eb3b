"""The ratios as a picture: one bar a row for each side of diffusers, and a line where both are as fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

WHITE, INK, LINE = (255, 255, 255), (32, 33, 36), (150, 154, 160)
COLOURS = {"time_ratio": (46, 110, 190), "time_ratio_tuned": (232, 150, 60)}
SAID = {"time_ratio": "to diffusers as it comes", "time_ratio_tuned": "to diffusers tuned by hand"}
PALE = 0.6
"""Share of white in the bars of rows whose mathematics differ."""
LABELS, BARS, VALUES, BAR, GAP, TOP = 330, 520, 70, 13, 16, 76
"""Pixels: widths of the three columns, height of a bar, between rows, above the first."""


def draw_chart(rows: Sequence[Mapping[str, Any]]) -> Image.Image:
    """Draw the rows of a table of comparisons; the shorter a bar, the faster editkit is."""
    names = list(COLOURS)
    height = TOP + len(rows) * (len(names) * BAR + GAP) + GAP
    chart = Image.new("RGB", (LABELS + BARS + VALUES, height), WHITE)
    draw, font = ImageDraw.Draw(chart), ImageFont.load_default(13)
    longest = max([1.25, *(row[name] for row in rows for name in names if row[name] is not None)])
    legend(draw, font)
    top = TOP
    for row in rows:
        draw.text((LABELS - 10, top + BAR), f"{row['operation']} ({row['model']})", INK, font, anchor="rm")
        for name in names:
            if row[name] is not None:
                right = LABELS + round(row[name] / longest * BARS)
                draw.rectangle((LABELS, top + 1, right, top + BAR - 1), fill=shade(COLOURS[name], row["same_maths"]))
                draw.text((right + 6, top + BAR // 2), f"{row[name]:.2f}", INK, font, anchor="lm")
            top += BAR
        top += GAP
    even = LABELS + round(BARS / longest)
    draw.line((even, TOP - 8, even, height - GAP), LINE, 1)
    return chart


def legend(draw: ImageDraw.ImageDraw, font: Any) -> None:
    draw.text((16, 12), "Time of editkit, as a share of the same edit by diffusers", INK, ImageFont.load_default(16))
    left = 16
    for name, said in [*SAID.items(), ("pale", "pale: other mathematics")]:
        colour = COLOURS.get(name, shade(INK, False))
        draw.rectangle((left, 44, left + 12, 56), fill=colour)
        draw.text((left + 18, 50), said, INK, font, anchor="lm")
        left += 44 + round(draw.textlength(said, font))


def shade(colour: tuple[int, int, int], same: bool) -> tuple[int, int, int]:
    if same:
        return colour
    red, green, blue = (round(level + PALE * (255 - level)) for level in colour)
    return red, green, blue
