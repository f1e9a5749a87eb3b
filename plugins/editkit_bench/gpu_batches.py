"""Several images at a time on a GPU, eager and compiled, against the time of their arithmetic alone."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch._dynamo.utils import counters

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


def batch_table(
    params: BenchParams,
    configs: Sequence[str],
    device: str = "cuda",
    *,
    sizes: Sequence[int] = SIZES,
    compiler: str = "inductor",
) -> Sequence[Mapping[str, Any]]:
    """Measure generation with random weights, whose values do not affect the time."""
    dtype = "bfloat16" if device == "cuda" else "float32"
    best = _peak_flops(device, getattr(torch, dtype), SIDE if device == "cuda" else 512)
    rows: list[Mapping[str, Any]] = []
    for name in configs:
        with (
            tempfile.TemporaryDirectory() as folder,
            ComparisonFixture.open(MODEL_CONFIGS[name], "text", Path(folder), device, dtype) as fixture,
        ):
            # Before anything is compiled: torch compiles no code that it met while operators are counted.
            flops = flops_of_an_image(fixture)
            for compiled in (False, True):
                if compiled:
                    for network in (network_of(fixture.model), network_of(fixture.base)):
                        network.compile(backend=compiler)
                labels = {"model": name, "compiled": compiled}
                rows.extend({**labels, **row} for row in batch_rows(fixture, params.rounds, best, flops, sizes))
    return rows


def _peak_flops(device: str, dtype: torch.dtype, side: int) -> float:
    """Return the FLOPs per second of the product of two large matrices, the best of several runs."""
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / min(elapsed(lambda: one @ other, device) for _ in range(10))


def flops_of_an_image(fixture: ComparisonFixture) -> int:
    """Return the FLOPs of one generated image, without rows that only fill a call."""
    return run_counted(lambda: _generate(fixture, 1, exact=False), network_of(fixture.model))[0].flops


def _generate(fixture: ComparisonFixture, count: int, *, exact: bool) -> None:
    options: dict[str, Any] = {"model": fixture.model, "prompt": PROMPT, "guidance": 7.5, "steps": fixture.steps}
    editkit.apply_all("generate", [None] * count, seeds=range(count), exact=exact, **options)


def _generate_by_diffusers(fixture: ComparisonFixture, count: int) -> None:
    fixture.pipeline(class_in_family("StableDiffusionPipeline", fixture))(
        PROMPT,
        height=fixture.size,
        width=fixture.size,
        num_inference_steps=fixture.steps,
        guidance_scale=7.5,
        num_images_per_prompt=count,
        generator=fixture.generator(),
    )


def batch_rows(
    fixture: ComparisonFixture, rounds: int, best: float, flops: int, sizes: Sequence[int] = SIZES
) -> Iterator[dict[str, Any]]:
    """Yield a row for every batch size: editkit with ``exact`` and without, and diffusers, whose batch is one call.

    ``best`` is the peak speed of the device in FLOPs per second, ``flops`` those of one image.
    """
    for count in sizes:
        sides = {
            "editkit": functools.partial(_generate, fixture, count, exact=True),
            "inexact": functools.partial(_generate, fixture, count, exact=False),
            "diffusers": functools.partial(_generate_by_diffusers, fixture, count),
        }
        graphs = counters["stats"]["unique_graphs"]
        seconds = time_in_turns(sides, rounds, fixture.device)
        ms = {name: median_ms(seconds, name) for name in sides}
        floor = count * flops / best * 1000
        yield {
            "images": count,
            "time_ratio": time_ratio(seconds, "editkit", "diffusers").median,
            "time_ratio_inexact": time_ratio(seconds, "inexact", "diffusers").median,
            "ms": ms["editkit"],
            "ms_inexact": ms["inexact"],
            "ms_diffusers": ms["diffusers"],
            "ms_floor": floor,
            "percent_of_floor": 100 * floor / ms["editkit"],
            "percent_of_floor_inexact": 100 * floor / ms["inexact"],
            "percent_of_floor_diffusers": 100 * floor / ms["diffusers"],
            "graphs": counters["stats"]["unique_graphs"] - graphs,
        }
