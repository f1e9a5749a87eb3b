"""Time and memory of ``upscale`` by image size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from editkit import apply, testing

from . import BenchParams

SIDES = (256, 512, 1024, 2048)
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
"""Files of Linux with a process's memory use, and to reset its peak."""


def growth_table(params: BenchParams) -> Sequence[Mapping[str, Any]]:
    """Measure upscaling of squares of several sides by 2, in tiles of 128 pixels with one step each.

    The network is a formula, so that the table shows the cost of everything else; a real network adds its time per
    network sample. Memory is the growth of the process, which only Linux reports.
    """
    return [_measure_side(side) for side in SIDES]


def _measure_side(side: int) -> dict[str, Any]:
    image, model = Image.linear_gradient("L").resize((side, side)).convert("RGB"), testing.ToyBackend()
    linux = STATUS.is_file() and RESET.is_file()
    if linux:
        RESET.write_text("5")
        before = _kilobytes("VmRSS")
    report = apply("upscale", image, model=model, prompt="red", steps=4, resolution=128, seed=0).report
    memory = (_kilobytes("VmHWM") - before) / 2**10 if linux else None
    return {
        "side": side,
        "seconds": report.seconds,
        "peak_memory_mb": memory,
        "bytes_per_pixel_of_result": None if memory is None else memory * 2**20 / (4 * side * side),
        "network_samples": report.network_samples,
    }


def _kilobytes(name: str) -> int:
    """Return a value of the process's status, in kB."""
    return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
