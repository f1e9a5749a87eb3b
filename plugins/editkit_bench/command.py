"""The whole table: comparisons on models of several shapes, and what surrounds an edit."""

from __future__ import annotations

import contextlib
import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch

from editkit import InvalidParameter, Table, check_file, save_picture

from . import BenchParams
from .chart import draw_chart
from .comparison import Comparison, in_family
from .comparisons import ROWS
from .counters import counted
from .fixture import ComparisonFixture, network_of
from .gpu_batches import batches
from .memory_growth import growth
from .model_configs import SHAPES, Shape
from .repeated_edits import repeats
from .startup import start_up
from .timing import in_turns, milliseconds, ratio

Part = Callable[[BenchParams], Sequence[Mapping[str, Any]]]
PARTS: Mapping[str, Part] = {"start-up": start_up, "repeats": repeats, "growth": growth}
"""What is measured beside the comparisons, each a table of its own."""


def bench(params: BenchParams) -> Table:
    """Measure what is asked for; raises InvalidParameter before that for names that are not there."""
    rows, parts, shapes = chosen(params)
    if params.chart is not None:
        check_file(params.chart, argument="chart")
    if params.gpu and not torch.cuda.is_available():
        raise InvalidParameter("gpu=True needs a GPU that torch can use, and there is none: leave it out")
    with threads(params.threads):
        compared = list(comparisons(params, rows, shapes))
        more = {name: PARTS[name](params) for name in parts}
        if params.gpu and rows:
            more["batches"] = batches(params, shapes)
    if params.chart is not None:
        save_picture(draw_chart(compared), params.chart, argument="chart")
    return Table(compared, {"machine": machine(params), "rounds": params.rounds}, more)


def chosen(params: BenchParams) -> tuple[list[Comparison], list[str], list[str]]:
    """The comparisons, the parts and the shapes that are asked for; all parts belong to a run without a GPU alone."""
    known = [*(row.operation for row in ROWS), *PARTS]
    wanted = names("only", params.only, known) or (known[: len(ROWS)] if params.gpu else known)
    shapes = names("models", params.models, list(SHAPES)) or (
        ["sd15", "sdxl", "flux"] if params.gpu else ["emoji", "mid"]
    )
    return [row for row in ROWS if row.operation in wanted], [name for name in PARTS if name in wanted], shapes


def names(what: str, text: str, known: Sequence[str]) -> list[str]:
    """The names in a list with commas; raises InvalidParameter for one that is not known."""
    given = [name.strip() for name in text.split(",") if name.strip()]
    for name in given:
        if name not in known:
            raise InvalidParameter(f"{what}={name!r} is not allowed: one of {', '.join(known)}")
    return given


@contextlib.contextmanager
def threads(wanted: int) -> Iterator[None]:
    """Let torch use so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def comparisons(params: BenchParams, rows: Sequence[Comparison], shapes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows on each shape: a model is loaded for all rows that are made for its kind."""
    device, dtype = ("cuda", "bfloat16") if params.gpu else ("cpu", "float32")
    for name in shapes:
        mine = [row for row in rows if measured(row, SHAPES[name])]
        for kind in dict.fromkeys(row.kind for row in mine):
            with (
                tempfile.TemporaryDirectory() as place,
                ComparisonFixture.open(SHAPES[name], kind, Path(place), device, dtype) as fixture,
            ):
                for row in mine:
                    if row.kind == kind:
                        yield {"operation": row.operation, "model": name, **compare(row, fixture, params.rounds)}


def measured(row: Comparison, shape: Shape) -> bool:
    """Whether a row is one of a shape's."""
    if row.operation in shape.without or (row.kind == "upscaling" and shape.upscaler is None):
        return False
    return shape.family in row.families and (not shape.rows or row.operation in shape.rows)


def compare(row: Comparison, fixture: ComparisonFixture, rounds: int) -> dict[str, Any]:
    """One row: equality and counters first, as they are exact, then the times."""
    row.editkit(fixture)  # what is loaded once, as a ControlNet is, is no cost of an edit
    made = row.results if row.results and fixture.shape.family == "sd" else None
    editkit_counts, result = counted(bound(made[0] if made else row.editkit, fixture), network_of(fixture.model))
    diffusers_counts, _ = counted(bound(row.diffusers, fixture), network_of(fixture.base))
    max_diff = float((result.cpu() - made[1](fixture).cpu()).abs().max()) if made else None
    sides = {"editkit": bound(row.editkit, fixture), "diffusers": bound(row.diffusers, fixture)}
    if row.tuned:
        sides["tuned"] = bound(row.tuned, fixture.channels_last)
    seconds = in_turns(sides, rounds, fixture.device, warm={"editkit", "diffusers"})
    against = ratio(seconds, "editkit", "diffusers")
    against_tuned = ratio(seconds, "editkit", "tuned") if row.tuned else None
    return {
        "pipeline": in_family(row.pipeline, fixture),
        "same_maths": row.same_maths,
        "time_ratio": against.median,
        "time_ratio_range": [against.low, against.high],
        "time_ratio_tuned": against_tuned and against_tuned.median,
        "time_ratio_tuned_range": against_tuned and [against_tuned.low, against_tuned.high],
        "ms": milliseconds(seconds, "editkit"),
        "ms_diffusers": milliseconds(seconds, "diffusers"),
        "network_calls": editkit_counts.calls,
        "network_calls_diffusers": diffusers_counts.calls,
        "network_samples": editkit_counts.samples,
        "network_samples_diffusers": diffusers_counts.samples,
        "gflop": editkit_counts.flops / 1e9,
        "gflop_diffusers": diffusers_counts.flops / 1e9,
        "max_diff": max_diff,
        "peak_memory_mb": editkit_counts.peak_bytes / 2**20,
        "peak_memory_mb_diffusers": diffusers_counts.peak_bytes / 2**20,
    }


def bound(side: Callable[[ComparisonFixture], Any], fixture: ComparisonFixture) -> Callable[[], Any]:
    return lambda: side(fixture)


def machine(params: BenchParams) -> dict[str, Any]:
    """What the times were taken on."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": params.threads,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "gpu": torch.cuda.get_device_name() if params.gpu else None,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
    }


def processor() -> str:
    """The processor's own name, where the system tells it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.is_file() else []
    said = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return said[0] if said else platform.processor()
