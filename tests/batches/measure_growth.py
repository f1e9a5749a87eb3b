"""Measure the plan of a large manifest, and the cost of a row beside its edit.

python -m batches.measure_growth plan [--rows 1000000]        (in the folder tests)
python -m batches.measure_growth rows [--rows 10000]

``plan`` plans rows with different prompts and seeds on 1,000 images. ``rows`` runs a job whose edits are replaced by
one finished result for all, so that the time left is that of reading the plan, notes, encoding, images and results.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import editkit_batch.part_worker
import numpy as np
from editkit_batch import BatchParams
from editkit_batch.command import batch
from editkit_batch.row_check import PlannedRow
from PIL import Image

IMAGES = 1000


def write_manifest(folder: Path, count: int) -> Path:
    """Write images of 64 x 64 pixels and a manifest of rows with different prompts and seeds."""
    generator = np.random.default_rng(0)
    (folder / "images").mkdir()
    for number in range(IMAGES):
        pixels = generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
    manifest = folder / "rows.jsonl"
    operations: list[dict[str, Any]] = [
        {"operation": "img2img", "prompt": "noto apple", "strength": 0.5, "steps": 20},
        {"operation": "prompt-edit", "source": "noto apple", "target": "noto lemon", "guidance": 7.5},
        {"operation": "instruct", "instruction": "make it green"},
    ]
    with manifest.open("w", encoding="utf-8") as file:
        for number in range(count):
            row = {**operations[number % 3], "image": f"images/{number % IMAGES}.png", "seed": number}
            words = next(name for name in ("prompt", "target", "instruction") if name in row)
            row[words] = f"{row[words]} number {number}"
            file.write(json.dumps({**row, "name": f"row-{number}"}) + "\n")
    return manifest


def measure_plan(folder: Path, count: int) -> dict[str, Any]:
    """Return time and memory of a plan; the memory is the peak of this process."""
    manifest = write_manifest(folder, count)
    start, processor = time.perf_counter(), time.process_time()
    table = batch(BatchParams(manifest=str(manifest), output=str(folder / "out"), dry_run=True))
    seconds = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - processor}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = sum(file.stat().st_size for file in (folder / "out" / "plan").iterdir())
    torch = "torch" in sys.modules
    return {**table.about, **seconds, "peak_mb": peak, "bytes_a_row": size / count, "torch_imported": torch}


def measure_rows(folder: Path, count: int) -> dict[str, Any]:
    """Return time of a job whose edits cost nothing, in this process."""
    import editkit

    finished = editkit.apply(
        "img2img", Image.new("RGB", (64, 64), "red"), prompt="noto apple", strength=0.5, steps=1, seed=0
    )

    def stub(rows: Sequence[PlannedRow], settings: Mapping[str, Any]) -> Iterator[tuple[int, Any]]:
        yield from ((place, finished) for place in range(len(rows)))

    editkit_batch.part_worker.edit_rows = stub
    manifest = write_manifest(folder, count)
    start, processor = time.perf_counter(), time.process_time()
    table = batch(BatchParams(manifest=str(manifest), output=str(folder / "out"), workers=0))
    seconds, cpu = time.perf_counter() - start, time.process_time() - processor
    processor = time.process_time()
    for _ in range(IMAGES):
        finished.encoded(".png")
    encoding = 1000 * (time.process_time() - processor) / IMAGES
    figures = {"ms_a_row": 1000 * seconds / count, "cpu_ms_a_row": 1000 * cpu / count, "png_cpu_ms_a_row": encoding}
    return {**table.about, **figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["plan", "rows"])
    parser.add_argument("--rows", type=int)
    given = parser.parse_args()
    measure, usual = {"plan": (measure_plan, 1_000_000), "rows": (measure_rows, 10_000)}[given.kind]
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(json.dumps(measure(Path(folder), given.rows or usual), indent=1) + "\n")


if __name__ == "__main__":
    main()
