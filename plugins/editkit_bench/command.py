"""The ``bench`` command: comparisons on models of several sizes, start-up, repeated edits and memory growth."""

from __future__ import annotations

import contextlib
import functools
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
from .comparison import Comparison, class_in_family
from .comparisons import ROWS
from .counters import run_counted
from .fixture import ComparisonFixture, network_of
from .gpu_batches import batch_table
from .many_images import many_images_table
from .memory_growth import growth_table
from .model_configs import MODEL_CONFIGS, ModelConfig
from .repeated_edits import repeats_table
from .startup import startup_table
from .timing import median_ms, time_in_turns, time_ratio

Part = Callable[[BenchParams], Sequence[Mapping[str, Any]]]
PARTS: Mapping[str, Part] = {
    "start-up": startup_table,
    "repeats": repeats_table,
    "growth": growth_table,
    "batch": many_images_table,
}
"""Measurements beside the comparisons, each with a table of its own."""


def bench(params: BenchParams) -> Table:
    """Measure the rows and parts in ``params``; raises InvalidParameter for unknown names before any measurement."""
    rows, parts, configs = _select(params)
    if params.chart is not None:
        check_file(params.chart, argument="chart")
    if params.gpu and not torch.cuda.is_available():
        raise InvalidParameter("gpu=True needs a GPU that torch can use, and there is none: leave it out")
    with _torch_threads(params.threads):
        compared = list(_comparison_rows(params, rows, configs))
        more = {name: PARTS[name](params) for name in parts}
        if params.gpu and rows:
            more["batches"] = batch_table(params, configs)
    if params.chart is not None:
        save_picture(draw_chart(compared), params.chart, argument="chart")
    return Table(compared, {"machine": _machine(params), "rounds": params.rounds}, more)


def _select(params: BenchParams) -> tuple[list[Comparison], list[str], list[str]]:
    """Return the comparisons, parts and model sizes to measure; on a GPU, parts are measured only if named."""
    allowed = [*(row.operation for row in ROWS), *PARTS]
    selected = _parse_names("only", params.only, allowed) or (allowed[: len(ROWS)] if params.gpu else allowed)
    configs = _parse_names("models", params.models, list(MODEL_CONFIGS)) or (
        ["sd15", "sdxl", "flux"] if params.gpu else ["emoji", "mid"]
    )
    return [row for row in ROWS if row.operation in selected], [name for name in PARTS if name in selected], configs


def _parse_names(parameter: str, text: str, allowed: Sequence[str]) -> list[str]:
    """Split a comma-separated list; raises InvalidParameter for a name that is not allowed."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in allowed:
            raise InvalidParameter(f"{parameter}={name!r} is not allowed: one of {', '.join(allowed)}")
    return names


@contextlib.contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """Let torch use ``count`` threads in the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _comparison_rows(
    params: BenchParams, rows: Sequence[Comparison], configs: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yield the rows for each model size; a model is loaded once for all rows of its kind."""
    device, dtype = ("cuda", "bfloat16") if params.gpu else ("cpu", "float32")
    for name in configs:
        applicable = [row for row in rows if _applies(row, MODEL_CONFIGS[name])]
        for kind in dict.fromkeys(row.kind for row in applicable):
            with (
                tempfile.TemporaryDirectory() as folder,
                ComparisonFixture.open(MODEL_CONFIGS[name], kind, Path(folder), device, dtype) as fixture,
            ):
                for row in applicable:
                    if row.kind == kind:
                        yield {"operation": row.operation, "model": name, **_compare(row, fixture, params.rounds)}


def _applies(row: Comparison, config: ModelConfig) -> bool:
    """Whether a row is measured with a model configuration."""
    if row.operation in config.without or (row.kind == "upscaling" and config.upscaler is None):
        return False
    return config.family in row.families and (not config.rows or row.operation in config.rows)


def _compare(row: Comparison, fixture: ComparisonFixture, rounds: int) -> dict[str, Any]:
    """Measure one row: differences and counts first, then the times."""
    row.editkit(fixture)  # loads ControlNets and the like, which are no cost of an edit
    results = row.results if row.results and fixture.config.family == "sd" else None
    editkit_run: Callable[[], Any] = functools.partial(results[0] if results else row.editkit, fixture)
    editkit_counts, result = run_counted(editkit_run, network_of(fixture.model))
    diffusers_counts, _ = run_counted(functools.partial(row.diffusers, fixture), network_of(fixture.base))
    max_diff = float((result.cpu() - results[1](fixture).cpu()).abs().max()) if results else None
    sides: dict[str, Callable[[], object]] = {
        "editkit": functools.partial(row.editkit, fixture),
        "diffusers": functools.partial(row.diffusers, fixture),
        "tuned": functools.partial(row.tuned, fixture.channels_last),
        "cold": functools.partial(_edit_new_images, row, fixture),
    }
    seconds = time_in_turns(sides, rounds, fixture.device, warm={"editkit", "diffusers"})
    fixture.restore_images()  # the next row compares results of both sides
    ratio = time_ratio(seconds, "editkit", "diffusers")
    tuned_ratio = time_ratio(seconds, "editkit", "tuned")
    cold, cold_tuned = (time_ratio(seconds, "cold", other) for other in ("diffusers", "tuned"))
    return {
        "pipeline": class_in_family(row.pipeline, fixture),
        "same_maths": row.same_maths,
        "time_ratio": ratio.median,
        "time_ratio_range": [ratio.low, ratio.high],
        "time_ratio_tuned": tuned_ratio.median,
        "time_ratio_tuned_range": [tuned_ratio.low, tuned_ratio.high],
        "time_ratio_cold": cold.median,
        "time_ratio_cold_tuned": cold_tuned.median,
        "ms": median_ms(seconds, "editkit"),
        "ms_diffusers": median_ms(seconds, "diffusers"),
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


def _edit_new_images(row: Comparison, fixture: ComparisonFixture) -> None:
    """Edit images that editkit has not met before, by editkit."""
    fixture.change_images()
    row.editkit(fixture)


def _machine(params: BenchParams) -> dict[str, Any]:
    """Describe the machine and the versions of the measurement."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": params.threads,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "gpu": torch.cuda.get_device_name() if params.gpu else None,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
    }


def _processor() -> str:
    """Return the model name of the processor, as far as the system has one."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
