"""Time before the first result: interpreter, imports and loading of the model."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from editkit import EditkitError, models

from . import BenchParams
from .fixture import PROMPT
from .timing import elapsed

MAX_ROUNDS = 3
"""Maximum number of rounds, since a cold start takes seconds."""
CLI = ("-c", "from editkit.cli import main; main()")
DIFFUSERS_SCRIPT = """
import sys, torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image
pipeline = StableDiffusionImg2ImgPipeline.from_pretrained(sys.argv[1])
pipeline.set_progress_bar_config(disable=True)
result = pipeline(sys.argv[4], image=Image.open(sys.argv[2]).convert("RGB"), strength=0.6, num_inference_steps=25,
                  guidance_scale=3.0, generator=torch.Generator().manual_seed(0))
result.images[0].save(sys.argv[3])
"""
"""The first edit as a script of diffusers."""


TIMED_SCRIPT = """
import atexit, gc, sys, time
started, source, result, prompt = float(sys.argv[1]), *sys.argv[2:]
import editkit, editkit.cli
gc.set_threshold(1_000_000, 50, 50)  # as the command line does
atexit.register(gc.freeze)
editkit.load_model("emoji")
imported = time.time()
model = editkit.load_model("emoji")
loaded = time.time()
edited = editkit.apply("img2img", source, model=model, prompt=prompt, seed=0)
sampled = time.time()
edited.save(result)
written = time.time()
print(imported - started - (loaded - imported), loaded - imported, sampled - loaded, written - sampled)
"""
"""The first edit in parts: the first loading also imports modules, which the second one does not."""


def startup_table(params: BenchParams) -> Sequence[Mapping[str, Any]]:
    """Measure the median seconds of shell commands, and the parts of the first edit.

    The parts are measured in a process that does the same; ``rest`` is the remainder, for starting and ending it.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "source.png", Path(folder) / "result.png"
        Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(source)
        edit = (*CLI, "img2img", str(source), "--prompt", PROMPT, "--seed", "0", "-o", str(result), "--json")
        commands: dict[str, Sequence[str]] = {
            "interpreter": ("-c", "pass"),
            "import editkit": ("-c", "import editkit"),
            "editkit --help": (*CLI, "--help"),
            "first edit": edit,
            "first edit with diffusers": (
                "-c",
                DIFFUSERS_SCRIPT,
                str(models()["emoji"].load()),
                str(source),
                str(result),
                PROMPT,
            ),
        }
        rounds = min(params.rounds, MAX_ROUNDS)
        rows = {
            name: _row(name, [_seconds(command, params.threads) for _ in range(rounds)])
            for name, command in commands.items()
        }
        rows["first edit"] |= _parts(source, result, params.threads, rows["first edit"]["seconds"])
    return list(rows.values())


def _row(name: str, seconds: Sequence[float]) -> dict[str, Any]:
    empty = dict.fromkeys(("imports", "loading", "network", "writing", "rest"))
    return {"command": name, "seconds": statistics.median(seconds), "range": [min(seconds), max(seconds)], **empty}


def _seconds(command: Sequence[str], threads: int) -> float:
    return elapsed(lambda: run_python(command, threads))


def run_python(command: Sequence[str], threads: int) -> subprocess.CompletedProcess[str]:
    """Run an interpreter; raises EditkitError with the last line of its errors if it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TQDM_DISABLE": "1"}
    process = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False, env=environment)
    if process.returncode:
        raise EditkitError(f"a measured command failed: {process.stderr.strip().splitlines()[-1]}")
    return process


def _parts(source: Path, result: Path, threads: int, total: float) -> dict[str, float]:
    """Return the seconds of the parts of the first edit."""
    process = run_python(("-c", TIMED_SCRIPT, str(time.time()), str(source), str(result), PROMPT), threads)
    names = ("imports", "loading", "network", "writing")
    parts = dict(zip(names, map(float, process.stdout.split()), strict=True))
    return {**parts, "rest": total - sum(parts.values())}
