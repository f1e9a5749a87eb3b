"""Make ``samples/moving-apple.gif``, 24 frames in which the apple of ``samples/red-apple.png`` swings.

.venv/bin/python samples/make_animation.py
"""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image

import editkit
from editkit.images.animation.encoding import encode_animation

SAMPLES = Path(__file__).parent
COUNT, SIDE, SWING = 24, 160, 12
"""Number of frames, their side and the farthest distance from the centre in pixels."""


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


if __name__ == "__main__":
    (SAMPLES / "moving-apple.gif").write_bytes(encode_animation(moving_apple(), ".gif"))
