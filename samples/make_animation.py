"""Make ``samples/moving-apple.gif``, 24 frames in which the apple of ``samples/red-apple.png`` swings.

    .venv/bin/python samples/make_animation.py
    .venv/bin/python samples/make_animation.py --measure

``--measure`` edits it with the bundled models, frame by frame with noise of their own and as an animation, prints the
table of ``docs/how-to/animations.md``, and stores some of the frames as ``samples/animation.png``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

import editkit
from editkit.images.animation.encoding import encode_animation
from editkit.images.animation.flicker import measure_flicker

SAMPLES = Path(__file__).parent
COUNT, SIDE, SWING = 24, 160, 12
"""Number of frames, their side and the farthest distance from the centre in pixels."""
SHOWN = (0, 4, 8, 12, 16, 20)
"""Frames in the sheet."""
PROMPTS = {"source": "noto red apple", "target": "noto green apple"}
EDITS: dict[str, tuple[str, dict[str, Any]]] = {
    "instruct": ("instruct", {"instruction": "make it green"}),
    "flow-edit": ("flow-edit", PROMPTS),
    "edit-friendly": ("prompt-edit", {**PROMPTS, "inverter": "edit-friendly"}),
    "pinned": ("prompt-edit", PROMPTS),
}


def moving_apple() -> editkit.Animation:
    """Return the animation: a figure of eight on white, by whole pixels."""
    apple = Image.open(SAMPLES / "red-apple.png").convert("RGB")
    centre = (SIDE - apple.width) // 2
    frames = []
    for number in range(COUNT):
        angle = 2 * math.pi * number / COUNT
        frame = Image.new("RGB", (SIDE, SIDE), "white")
        offset = round(SWING * math.sin(angle)), round(SWING / 2 * math.sin(2 * angle))
        frame.paste(apple, (centre + offset[0], centre + offset[1]))
        frames.append(frame)
    return editkit.Animation.of(frames, milliseconds=80)


def edit_each_way(operation: str, params: dict[str, Any]) -> dict[str, Sequence[Image.Image]]:
    """Return the frames of an edit with noise of their own, with one noise, and beside the first frame too."""
    source, common = moving_apple(), {**params, "cache": False}
    own = editkit.apply_all(operation, source.frames, seeds=list(range(COUNT)), batch=4, **common)
    ways = {"own noise": [one.image for one in own]}
    for name, anchor in (("one noise", False), ("beside the first", True)):
        ways[name] = editkit.apply_to_animation(operation, source, seed=0, anchor=anchor, **common).frames
    return ways


def draw(rows: dict[str, Sequence[Image.Image]]) -> Image.Image:
    """Return a small sheet of some frames of clips, one clip in a row."""
    images = [(f"{name} {number + 1}", frames[number]) for name, frames in rows.items() for number in SHOWN]
    return editkit.draw_sheet(images, columns=len(SHOWN), tile=96).quantize(128)


def measure() -> None:
    source = moving_apple().frames
    rows = {"source": source}
    for name, (operation, params) in EDITS.items():
        ways = edit_each_way(operation, params)
        figures = measure_flicker(source, *ways.values())
        cells = [name, *(f"{figure:.2f}" for figure in (*figures, figures[2] / figures[0]))]
        sys.stdout.write(f"| {' | '.join(cells)} |\n")
        if name in ("instruct", "flow-edit"):
            rows |= {f"{name}, {way}": ways[way] for way in ("own noise", "beside the first")}
    draw(rows).save(SAMPLES / "animation.png", optimize=True)


if __name__ == "__main__":
    if "--measure" in sys.argv:
        measure()
    else:
        (SAMPLES / "moving-apple.gif").write_bytes(encode_animation(moving_apple(), ".gif"))
