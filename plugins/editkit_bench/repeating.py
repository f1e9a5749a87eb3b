"""What further edits of one picture cost, and one call for many."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from editkit import apply, load_model

from . import BenchParams
from .cache_folder import kept_in
from .stage import PROMPT
from .starting import CLI, said
from .timing import in_turns, ratio, timed

TARGETS = tuple(f"a {colour} apple on white" for colour in ("green", "blue", "yellow", "brown"))
PICTURES = 4
STEPS = 10


def repeats(params: BenchParams) -> Sequence[Mapping[str, Any]]:
    """Ratios of times of the bundled model: what editkit keeps of one edit for the next."""
    model = load_model("emoji")
    picture = Image.linear_gradient("L").resize((64, 64)).convert("RGB")

    def edit(target: str, *, cache: bool) -> None:
        apply("prompt-edit", picture, model=model, source=PROMPT, target=target, steps=STEPS, seed=0, cache=cache)

    def four(*, cache: bool) -> None:
        with tempfile.TemporaryDirectory() as empty, kept_in(empty):
            for target in TARGETS:
                edit(target, cache=cache)

    with tempfile.TemporaryDirectory() as folder, kept_in(folder):
        edit(TARGETS[0], cache=True)

        def again() -> None:
            with kept_in(folder):
                edit(TARGETS[1], cache=True)

        sides = {
            "first edit": lambda: edit(TARGETS[0], cache=False),
            "second edit of a picture": again,
            "4 edits, each with its inversion": lambda: four(cache=False),
            "4 edits of one picture": lambda: four(cache=True),
        }
        seconds = in_turns(sides, params.rounds)
    rows = [
        told(one, other, *ratio(seconds, one, other))
        for one, other in (
            ("second edit of a picture", "first edit"),
            ("4 edits of one picture", "4 edits, each with its inversion"),
        )
    ]
    return [*rows, told("4 pictures in one command", "4 commands", *commands(picture, params.threads))]


def told(one: str, other: str, median: float, low: float, high: float) -> dict[str, Any]:
    return {"what": one, "against": other, "time_ratio": median, "time_ratio_range": [low, high]}


def commands(picture: Image.Image, threads: int) -> tuple[float, float, float]:
    """One command for several pictures against one for each, once."""
    with tempfile.TemporaryDirectory() as place:
        names = [str(Path(place) / f"{index}.png") for index in range(PICTURES)]
        for name in names:
            picture.save(name)
        out = Path(place) / "out"
        out.mkdir()
        options = ("--prompt", PROMPT, "--seed", "0", "-o", str(out))
        together = timed(lambda: said((*CLI, "img2img", *names, *options), threads))
        alone = timed(lambda: [said((*CLI, "img2img", name, *options), threads) for name in names])
    return (together / alone,) * 3
