"""Several images at a time on a GPU, eager and compiled, against the time of their arithmetic alone."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import editkit

from . import BenchParams
from .comparison import class_in_family
from .counters import run_counted
from .fixture import PROMPT, ComparisonFixture, network_of
from .model_configs import MODEL_CONFIGS
from .timing import elapsed, median_ms, time_in_turns, time_ratio

SIZES = (1, 4, 16)
SIDE = 8192
"""Side of the matrices whose product measures the peak speed of the device."""


def batch_table(params: BenchParams, configs: Sequence[str], device: str = "cuda") -> Sequence[Mapping[str, Any]]:
    """Measure generation with random weights, whose values do not affect the time."""
    dtype = "bfloat16" if device == "cuda" else "float32"
    best = _peak_flops(device, getattr(torch, dtype), SIDE if device == "cuda" else 512)
    rows: list[Mapping[str, Any]] = []
    for name in configs:
        with (
            tempfile.TemporaryDirectory() as folder,
            ComparisonFixture.open(MODEL_CONFIGS[name], "text", Path(folder), device, dtype) as fixture,
        ):
            for compiled in (False, True):
                if compiled:
                    for network in (network_of(fixture.model), network_of(fixture.base)):
                        network.compile()
                labels = {"model": name, "compiled": compiled}
                rows.extend({**labels, **row} for row in batch_rows(fixture, params.rounds, best))
    return rows


def _peak_flops(device: str, dtype: torch.dtype, side: int) -> float:
    """Return the FLOPs per second of the product of two large matrices, the best of several runs."""
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / min(elapsed(lambda: one @ other, device) for _ in range(10))


def batch_rows(
    fixture: ComparisonFixture, rounds: int, best: float, sizes: Sequence[int] = SIZES
) -> Iterator[dict[str, Any]]:
    """Yield a row for every batch size; both sides sample a batch in one call."""

    def run_editkit(count: int) -> None:
        options: dict[str, Any] = {"model": fixture.model, "prompt": PROMPT, "guidance": 7.5, "steps": fixture.steps}
        editkit.apply_all("generate", [None] * count, seeds=range(count), **options)

    def run_diffusers(count: int) -> None:
        fixture.pipeline(class_in_family("StableDiffusionPipeline", fixture))(
            PROMPT,
            height=fixture.size,
            width=fixture.size,
            num_inference_steps=fixture.steps,
            guidance_scale=7.5,
            num_images_per_prompt=count,
            generator=fixture.generator(),
        )

    # The FLOPs of one image give those of any batch.
    flops = run_counted(lambda: run_editkit(1), network_of(fixture.model))[0].flops
    for count in sizes:
        sides = {"editkit": functools.partial(run_editkit, count), "diffusers": functools.partial(run_diffusers, count)}
        seconds = time_in_turns(sides, rounds, fixture.device)
        floor = count * flops / best * 1000
        yield {
            "pictures": count,
            "time_ratio": time_ratio(seconds, "editkit", "diffusers").median,
            "ms": median_ms(seconds, "editkit"),
            "ms_diffusers": median_ms(seconds, "diffusers"),
            "ms_floor": floor,
            "percent_of_floor": 100 * floor / median_ms(seconds, "editkit"),
            "percent_of_floor_diffusers": 100 * floor / median_ms(seconds, "diffusers"),
        }
