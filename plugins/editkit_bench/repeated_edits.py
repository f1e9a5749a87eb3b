"""What further edits of one picture cost, and one call for many."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from editkit import Backend, apply, apply_all, load_model

from . import BenchParams
from .fixture import PROMPT, SEVERAL
from .isolated_cache import kept_in
from .startup import CLI, said
from .timing import in_turns, ratio, timed

TARGETS = tuple(f"a {colour} apple on white" for colour in ("green", "blue", "yellow", "brown"))
PICTURES = 3
AGAIN = 2
STEPS = 10
"""Of the rows of several pictures; edits of one take as many as they do by default."""


def repeats(params: BenchParams) -> Sequence[Mapping[str, Any]]:
    """Ratios of times of the bundled model: what editkit keeps of one edit for the next."""
    model = load_model("emoji")
    picture = Image.linear_gradient("L").resize((64, 64)).convert("RGB")

    def edit(target: str, *, cache: bool) -> None:
        apply("prompt-edit", picture, model=model, source=PROMPT, target=target, seed=0, cache=cache)

    def several_edits() -> None:
        with tempfile.TemporaryDirectory() as empty, kept_in(empty):
            for target in TARGETS:
                edit(target, cache=True)

    with tempfile.TemporaryDirectory() as folder, kept_in(folder):
        edit(TARGETS[0], cache=True)

        def again() -> None:
            with kept_in(folder):
                edit(TARGETS[1], cache=True)

        sides = {
            "first edit": lambda: edit(TARGETS[0], cache=False),
            "second edit of a picture": again,
            "edits of a picture": several_edits,
        }
        seconds = in_turns(sides, params.rounds)
    alone, many = "first edit", len(TARGETS)
    apart = (share / many for share in ratio(seconds, "edits of a picture", alone))
    return [
        told("second edit of a picture", alone, *ratio(seconds, "second edit of a picture", alone)),
        told(f"{many} edits of a picture", f"{many} times the {alone}", *apart),
        *several(model, picture, params.rounds),
        told(f"{PICTURES} pictures in one command", f"{PICTURES} commands", *commands(picture, params.threads)),
    ]


def several(model: Backend, picture: Image.Image, rounds: int) -> list[dict[str, Any]]:
    """Pictures in one call against a call for each, and a picture that was edited before against new ones."""
    given: dict[str, Any] = {"model": model, "prompt": PROMPT, "steps": STEPS, "seed": 0, "cache": False}
    new = never_seen(picture)
    sides = {
        "16 pictures in one call": lambda: apply_all("img2img", itertools.islice(new, SEVERAL), **given),
        "16 calls": lambda: [apply("img2img", one, **given) for one in itertools.islice(new, SEVERAL)],
        "img2img of the same picture": lambda: [apply("img2img", picture, **given) for _ in range(AGAIN)],
        "img2img of new pictures": lambda: [apply("img2img", one, **given) for one in itertools.islice(new, AGAIN)],
    }
    seconds = in_turns(sides, rounds)
    names = list(sides)
    return [told(one, other, *ratio(seconds, one, other)) for one, other in zip(names[::2], names[1::2], strict=True)]


def never_seen(picture: Image.Image) -> Iterator[Image.Image]:
    """Pictures of which no two are equal: nothing is known of any."""
    for number in itertools.count():
        one = picture.copy()
        one.putpixel((0, 0), (number % 256, number // 256 % 256, number // 256**2))
        yield one


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
