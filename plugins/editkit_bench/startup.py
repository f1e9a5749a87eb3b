"""What stands before the first result: interpreters, imports, the model."""

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
from .timing import timed

MOST = 3
"""Rounds: a cold shell takes seconds."""
CLI = ("-c", "from editkit.cli import main; main()")
PLAIN = """
import sys, torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image
pipeline = StableDiffusionImg2ImgPipeline.from_pretrained(sys.argv[1])
pipeline.set_progress_bar_config(disable=True)
drawn = pipeline(sys.argv[4], image=Image.open(sys.argv[2]).convert("RGB"), strength=0.6, num_inference_steps=25,
                 guidance_scale=3.0, generator=torch.Generator().manual_seed(0))
drawn.images[0].save(sys.argv[3])
"""
"""The edit below, as a script of diffusers."""


IN_PARTS = """
import sys, time
started, source, result, prompt = float(sys.argv[1]), *sys.argv[2:]
import editkit
from editkit.cli import collect_seldom
collect_seldom()
editkit.load_model("emoji")
imported = time.time()
model = editkit.load_model("emoji")
loaded = time.time()
edited = editkit.apply("img2img", source, model=model, prompt=prompt, seed=0)
drawn = time.time()
edited.save(result)
written = time.time()
print(imported - started - (loaded - imported), loaded - imported, drawn - loaded, written - drawn)
"""
"""The first edit in parts: the first loading takes as much longer than the second as is imported for it."""


def start_up(params: BenchParams) -> Sequence[Mapping[str, Any]]:
    """Seconds of shell commands, the median of a few; of the first edit also what takes them.

    The parts are those of a process that does the same, interpreter and its end aside: ``rest`` is what is left.
    """
    with tempfile.TemporaryDirectory() as place:
        source, result = Path(place) / "source.png", Path(place) / "result.png"
        Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(source)
        edit = (*CLI, "img2img", str(source), "--prompt", PROMPT, "--seed", "0", "-o", str(result), "--json")
        commands: dict[str, Sequence[str]] = {
            "interpreter": ("-c", "pass"),
            "import editkit": ("-c", "import editkit"),
            "editkit --help": (*CLI, "--help"),
            "first edit": edit,
            "first edit with diffusers": ("-c", PLAIN, str(models()["emoji"].load()), str(source), str(result), PROMPT),
        }
        rounds = min(params.rounds, MOST)
        rows = {
            name: row(name, [seconds(command, params.threads) for _ in range(rounds)])
            for name, command in commands.items()
        }
        rows["first edit"] |= parts_of(source, result, params.threads, rows["first edit"]["seconds"])
    return list(rows.values())


def row(name: str, taken: Sequence[float]) -> dict[str, Any]:
    empty = dict.fromkeys(("imports", "loading", "network", "writing", "rest"))
    return {"command": name, "seconds": statistics.median(taken), "range": [min(taken), max(taken)], **empty}


def seconds(command: Sequence[str], threads: int) -> float:
    return timed(lambda: said(command, threads))


def said(command: Sequence[str], threads: int) -> subprocess.CompletedProcess[str]:
    """Run an interpreter; raises EditkitError with what it said where it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TQDM_DISABLE": "1"}
    ran = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False, env=environment)
    if ran.returncode:
        raise EditkitError(f"a command that is measured failed: {ran.stderr.strip().splitlines()[-1]}")
    return ran


def parts_of(source: Path, result: Path, threads: int, total: float) -> dict[str, float]:
    """What the seconds of the first edit are made of."""
    ran = said(("-c", IN_PARTS, str(time.time()), str(source), str(result), PROMPT), threads)
    names = ("imports", "loading", "network", "writing")
    parts = dict(zip(names, map(float, ran.stdout.split()), strict=True))
    return {**parts, "rest": total - sum(parts.values())}
