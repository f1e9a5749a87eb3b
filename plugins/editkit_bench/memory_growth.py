"""What ``upscale`` takes as the picture grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from editkit import apply, testing

from . import BenchParams

SIDES = (256, 512, 1024, 2048)
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
"""Where Linux tells of a process's memory, and where its peak is made to begin anew."""


def growth(params: BenchParams) -> Sequence[Mapping[str, Any]]:
    """Seconds and memory of enlarging squares of several sides 2 times, in tiles of 128 pixels, with one step each.

    The network is a formula, so that what is measured is all but a network: its share is the samples, times those of
    a model. Memory is what the process grows by, which Linux alone tells.
    """
    return [grown(side) for side in SIDES]


def grown(side: int) -> dict[str, Any]:
    picture, model = Image.linear_gradient("L").resize((side, side)).convert("RGB"), testing.ToyBackend()
    linux = STATUS.is_file() and RESET.is_file()
    if linux:
        RESET.write_text("5")
        before = kilobytes("VmRSS")
    report = apply("upscale", picture, model=model, prompt="red", steps=4, resolution=128, seed=0).report
    memory = (kilobytes("VmHWM") - before) / 2**10 if linux else None
    return {
        "side": side,
        "seconds": report.seconds,
        "peak_memory_mb": memory,
        "bytes_per_pixel_of_result": None if memory is None else memory * 2**20 / (4 * side * side),
        "network_samples": report.network_samples,
    }


def kilobytes(name: str) -> int:
    """A line of the process's status."""
    return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
