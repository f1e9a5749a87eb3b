"""Several pictures at a time on a GPU, eager and compiled, beside what the arithmetic alone would take."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import editkit

from . import BenchParams
from .comparison import in_family
from .counters import counted
from .fixture import PROMPT, ComparisonFixture, network_of
from .model_configs import SHAPES
from .timing import in_turns, milliseconds, ratio, timed

SIZES = (1, 4, 16)
SIDE = 8192
"""Of the matrices whose product tells how fast the device calculates at best."""


def batches(params: BenchParams, shapes: Sequence[str], device: str = "cuda") -> Sequence[Mapping[str, Any]]:
    """Pictures drawn from noise, of random weights: their values do not change the time."""
    dtype = "bfloat16" if device == "cuda" else "float32"
    best = rate(device, getattr(torch, dtype), SIDE if device == "cuda" else 512)
    rows: list[Mapping[str, Any]] = []
    for name in shapes:
        with (
            tempfile.TemporaryDirectory() as place,
            ComparisonFixture.open(SHAPES[name], "text", Path(place), device, dtype) as fixture,
        ):
            for compiled in (False, True):
                if compiled:
                    for network in (network_of(fixture.model), network_of(fixture.base)):
                        network.compile()
                about = {"model": name, "compiled": compiled}
                rows.extend({**about, **row} for row in batch_rows(fixture, params.rounds, best))
    return rows


def rate(device: str, dtype: torch.dtype, side: int) -> float:
    """FLOPs a second of the product of two large matrices, the best of several."""
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / min(timed(lambda: one @ other, device) for _ in range(10))


def batch_rows(
    fixture: ComparisonFixture, rounds: int, best: float, pictures: Sequence[int] = SIZES
) -> Iterator[dict[str, Any]]:
    """A row for every number of pictures, which both draw in one call."""

    def run_editkit(pictures: int) -> None:
        given: dict[str, Any] = {"model": fixture.model, "prompt": PROMPT, "guidance": 7.5, "steps": fixture.steps}
        editkit.apply_all("generate", [None] * pictures, seeds=range(pictures), **given)

    def run_diffusers(pictures: int) -> None:
        fixture.pipeline(in_family("StableDiffusionPipeline", fixture))(
            PROMPT,
            height=fixture.size,
            width=fixture.size,
            num_inference_steps=fixture.steps,
            guidance_scale=7.5,
            num_images_per_prompt=pictures,
            generator=fixture.generator(),
        )

    # One picture and the eager network are enough to count: nothing else costs arithmetic.
    flops = counted(lambda: run_editkit(1), network_of(fixture.model))[0].flops
    for many in pictures:
        sides = {"editkit": functools.partial(run_editkit, many), "diffusers": functools.partial(run_diffusers, many)}
        seconds = in_turns(sides, rounds, fixture.device)
        floor = many * flops / best * 1000
        yield {
            "pictures": many,
            "time_ratio": ratio(seconds, "editkit", "diffusers").median,
            "ms": milliseconds(seconds, "editkit"),
            "ms_diffusers": milliseconds(seconds, "diffusers"),
            "ms_floor": floor,
            "percent_of_floor": 100 * floor / milliseconds(seconds, "editkit"),
            "percent_of_floor_diffusers": 100 * floor / milliseconds(seconds, "diffusers"),
        }
