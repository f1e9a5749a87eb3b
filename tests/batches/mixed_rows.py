"""Run a manifest of mixed rows on every engine, kill it at random, go on, and compare ids, states and bytes.

python -m batches.mixed_rows [--rows 200] [--engines local,two,regrouped,ray,dask] [--kills 3] [--seed 0]

It is run in the folder tests. The rows have ten operations, masks, two models, bad rows of six kinds and one row that
ends its process. An engine runs the job once undisturbed and once with kills: all of its processes get SIGKILL at a
random number of images, and the job is run again. No image may be written twice, none may be missing, and each id has
one result.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses as dc
import hashlib
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from batches import fatal_operation
from editkit.testing.tiny import stable_diffusion_folder

ENGINES: dict[str, list[str]] = {
    "local": [],
    "two": ["--workers", "2"],
    "regrouped": ["--rows-per-file", "17", "--batch", "3"],
    "ray": ["--engine", "ray", "--workers", "2"],
    "dask": ["--engine", "dask", "--workers", "2"],
}
"""Options by engine; ``regrouped`` has the rows in another order, in other parts and other batches."""

MARK = "EDITKIT_MIXED_ROWS"
"""Variable in the environment of all processes of a job, by which they are found."""

EDITS: list[dict[str, Any]] = [
    {"operation": "img2img", "prompt": "noto tomato", "strength": 0.5},
    {"operation": "img2img", "prompt": "noto lemon", "strength": 0.75, "mask": "mask.png"},
    {"operation": "inpaint", "prompt": "noto heart", "mask": "mask.png"},
    {"operation": "generate", "prompt": "noto apple", "image": None},
    {"operation": "outpaint", "prompt": "noto apple", "right": 16},
    {"operation": "instruct", "instruction": "make it green"},
    {"operation": "upscale", "scale": 2},
    {"operation": "control", "prompt": "noto pear", "kind": "edge"},
    {"operation": "prompt-edit", "source": "noto red apple", "target": "noto green apple"},
    {"operation": "few-step-edit", "source": "noto red apple", "target": "noto lemon"},
    {"operation": "interpolate", "image": ["apple.png", "heart.png"], "frames": 2, "inverter": "ddim"},
]
"""Edits in turn; those without an image have apple.png or heart.png, and all have 2 steps."""

BAD: list[Any] = [
    {"operation": "img2img", "image": "missing.png", "prompt": "noto tomato"},
    {"operation": "img2img", "image": "short.png", "prompt": "noto tomato"},
    {"operation": "img2img", "image": "apple.png", "strenght": 0.5},
    {"operation": "img2img", "image": "apple.png", "prompt": "noto tomato", "strength": 7},
    {"operation": "imgtoimg", "image": "apple.png", "prompt": "noto tomato"},
    '{"operation": "img2img", "image": "apple.png"',
]


def write_manifest(folder: Path, count: int, *, fatal: bool = True, tiny: bool = False) -> Path:
    """Write images, a tiny model and a manifest of ``count`` rows, of which about one in 16 is bad.

    With ``tiny``, all edits are of three operations by the tiny model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for name in ("apple", "heart"):
        Image.fromarray(generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 16:48] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    (folder / "short.png").write_bytes((folder / "apple.png").read_bytes()[:2000])
    stable_diffusion_folder(folder / "tiny")
    bad = max(len(BAD), count * 6 // 100 // len(BAD) * len(BAD))
    rows = [_edit(EDITS[number % (4 if tiny else len(EDITS))], number) for number in range(count - bad - fatal)]
    for number, row in enumerate(rows):
        if tiny or (row["operation"] in ("img2img", "inpaint", "generate") and number % 3 == 0):
            row["model"] = str(folder / "tiny")
    rows += [_bad(number) for number in range(bad)]
    if fatal:
        rows.append({"operation": "fatal", "image": "apple.png", "prompt": "noto tomato", "steps": 2})
    random.Random(1).shuffle(rows)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    manifest = folder / "rows.jsonl"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return manifest


def _edit(edit: dict[str, Any], number: int) -> dict[str, Any]:
    image = ("apple.png", "heart.png")[number % 2]
    row = {"image": image, **edit, "steps": 2, "seed": number, "name": f"../../row {number}"}
    return {name: value for name, value in row.items() if value is not None}


def _bad(number: int) -> Any:
    row = BAD[number % len(BAD)]
    return row + " " * number if isinstance(row, str) else {**row, "seed": number}


@dc.dataclass
class JobProcess:
    """Command line of one job, which can be run, killed and run again."""

    manifest: Path
    output: Path
    options: Sequence[str]
    plugin: Path
    mark: str = dc.field(default_factory=lambda: secrets.token_hex(8))

    def start(self) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(self.plugin), *sys.path])
        environment = {**os.environ, "PYTHONPATH": path, MARK: self.mark}
        command = [sys.executable, "-m", "editkit", "batch", str(self.manifest), "-o", str(self.output), "--json"]
        usual = ["--rows-per-file", "50", "--batch", "8"] if "--batch" not in self.options else []
        words = [*command, "--threads", "1", *usual, *self.options]
        return subprocess.Popen(
            words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def complete(self) -> dict[str, Any]:
        """Run the job to its end and return its summary."""
        process = self.start()
        out, err = process.communicate()
        assert process.returncode == 2 and out.startswith("{"), (process.returncode, out, err)
        summary: dict[str, Any] = json.loads(out)
        return summary

    def kill_after(self, images: int) -> bool:
        """Run the job until it has so many images and kill all of its processes; False if it ended before."""
        process = self.start()
        while process.poll() is None and len(self.images()) < images:
            time.sleep(0.05)
        ended = process.poll() is not None
        self.kill()
        process.communicate()
        return not ended

    def kill(self) -> None:
        """Kill every process of the job: command, workers and those of a cluster that it started."""
        while pids := [pid for pid in _processes() if _has_mark(pid, self.mark)]:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)

    def images(self) -> dict[str, tuple[int, int]]:
        """Return inode and time of every image that is complete."""
        files = (self.output / "images").rglob("*.png") if self.output.exists() else ()
        found = {}
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                status = file.stat()
                found[file.name] = status.st_ino, status.st_mtime_ns
        return found

    def results(self) -> dict[str, tuple[Any, ...]]:
        """Return state, error and SHA-256 by id; every id has one row, and every image the bytes of its row."""
        rows = pq.read_table(self.output / "results").to_pylist()
        counts = Counter(row["id"] for row in rows)
        assert max(counts.values()) == 1, counts.most_common(3)
        for row in rows:
            if row["status"] == "ok":
                data = (self.output / row["output"]).read_bytes()
                assert hashlib.sha256(data).hexdigest() == row["sha256"], row["id"]
        done = {row["id"] for row in rows if row["status"] == "ok"}
        assert {name.removesuffix(".png") for name in self.images()} == done
        return {row["id"]: (row["status"], row["error_type"], row["error"], row["sha256"]) for row in rows}


def _processes() -> Iterator[int]:
    yield from (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())


def _has_mark(pid: int, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def run_with_kills(job: JobProcess, count: int, kills: int, chance: random.Random) -> int:
    """Kill a job at random numbers of images and run it to its end; return the number of images that it kept."""
    written: dict[str, tuple[int, int]] = {}
    done = 0
    for limit in sorted(chance.sample(range(1, max(kills + 1, count * 3 // 4)), kills)):
        done += job.kill_after(max(limit, len(written) + 1))
        now = job.images()
        assert {name: now.get(name) for name in written} == written, "an image was written twice"
        written = now
    assert done == kills, f"the job ended before {kills - done} of the kills"
    job.complete()
    now = job.images()
    assert {name: now.get(name) for name in written} == written, "an image was written twice"
    return len(written)


def shuffle(manifest: Path) -> Path:
    """Write the rows of a manifest in another order beside it."""
    lines = manifest.read_text(encoding="utf-8").splitlines()
    random.Random(2).shuffle(lines)
    other = manifest.with_name("shuffled.jsonl")
    other.write_text("\n".join(lines), encoding="utf-8")
    return other


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        manifest, plugin = write_manifest(root / "data", given.rows), fatal_operation.install(root / "plugin")
        expected: dict[str, tuple[Any, ...]] = {}
        for engine in given.engines.split(","):
            for kills in dict.fromkeys((0, given.kills)):
                start = time.perf_counter()
                rows = shuffle(manifest) if engine == "regrouped" else manifest
                job = JobProcess(rows, root / f"{engine}-{kills}", ENGINES[engine], plugin)
                kept = run_with_kills(job, given.rows, kills, random.Random(f"{given.seed}{engine}"))
                results = job.results()
                expected = expected or results
                others = {key: (one, results.get(key)) for key, one in expected.items() if results.get(key) != one}
                assert results.keys() == expected.keys() and not others, others
                states = Counter(state for state, *_ in results.values())
                line = {"engine": engine, "kills": kills, "images_kept": kept, **dict(sorted(states.items()))}
                sys.stdout.write(json.dumps({**line, "seconds": round(time.perf_counter() - start, 1)}) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
