"""Cost of further edits of one image, and of one call for many images."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from editkit import Backend, apply, apply_all, load_model

from . import BenchParams
from .fixture import IMAGE_COUNT, PROMPT
from .isolated_cache import use_cache_folder
from .startup import CLI, run_python
from .timing import elapsed, time_in_turns, time_ratio

TARGETS = tuple(f"a {colour} apple on white" for colour in ("green", "blue", "yellow", "brown"))
COMMAND_IMAGES = 3
AGAIN = 2
STEPS = 10
"""Steps of the rows with several images; edits of one image take the default."""


def repeats_table(params: BenchParams) -> Sequence[Mapping[str, Any]]:
    """Measure ratios of times with the bundled model: the effect of caching from one edit to the next."""
    model = load_model("emoji")
    image = Image.linear_gradient("L").resize((64, 64)).convert("RGB")

    def edit(target: str, *, cache: bool) -> None:
        apply("prompt-edit", image, model=model, source=PROMPT, target=target, seed=0, cache=cache)

    def several_edits() -> None:
        with tempfile.TemporaryDirectory() as empty, use_cache_folder(empty):
            for target in TARGETS:
                edit(target, cache=True)

    with tempfile.TemporaryDirectory() as folder, use_cache_folder(folder):
        edit(TARGETS[0], cache=True)

        def again() -> None:
            with use_cache_folder(folder):
                edit(TARGETS[1], cache=True)

        sides = {
            "first edit": lambda: edit(TARGETS[0], cache=False),
            "second edit of an image": again,
            "edits of an image": several_edits,
        }
        seconds = time_in_turns(sides, params.rounds)
    first, many = "first edit", len(TARGETS)
    per_edit = (share / many for share in time_ratio(seconds, "edits of an image", first))
    return [
        _row("second edit of an image", first, *time_ratio(seconds, "second edit of an image", first)),
        _row(f"{many} edits of an image", f"{many} times the {first}", *per_edit),
        *_several_images(model, image, params.rounds),
        _row(
            f"{COMMAND_IMAGES} images in one command",
            f"{COMMAND_IMAGES} commands",
            *_time_commands(image, params.threads),
        ),
    ]


def _several_images(model: Backend, image: Image.Image, rounds: int) -> list[dict[str, Any]]:
    """Compare images in one call with a call for each, and an image edited before with new ones."""
    options: dict[str, Any] = {"model": model, "prompt": PROMPT, "steps": STEPS, "seed": 0, "cache": False}
    new = new_images(image)
    sides = {
        "16 images in one call": lambda: apply_all("img2img", itertools.islice(new, IMAGE_COUNT), **options),
        "16 calls": lambda: [apply("img2img", one, **options) for one in itertools.islice(new, IMAGE_COUNT)],
        "img2img of the same image": lambda: [apply("img2img", image, **options) for _ in range(AGAIN)],
        "img2img of new images": lambda: [apply("img2img", one, **options) for one in itertools.islice(new, AGAIN)],
    }
    seconds = time_in_turns(sides, rounds)
    names = list(sides)
    return [
        _row(one, other, *time_ratio(seconds, one, other)) for one, other in zip(names[::2], names[1::2], strict=True)
    ]


def new_images(image: Image.Image) -> Iterator[Image.Image]:
    """Yield images of which no two are equal, so that no cache has any of them."""
    for number in itertools.count():
        one = image.copy()
        one.putpixel((0, 0), (number % 256, number // 256 % 256, number // 256**2))
        yield one


def _row(one: str, other: str, median: float, low: float, high: float) -> dict[str, Any]:
    return {"what": one, "against": other, "time_ratio": median, "time_ratio_range": [low, high]}


def _time_commands(image: Image.Image, threads: int) -> tuple[float, float, float]:
    """Compare one command for several images with one for each, in a single round."""
    with tempfile.TemporaryDirectory() as folder:
        names = [str(Path(folder) / f"{index}.png") for index in range(COMMAND_IMAGES)]
        for name in names:
            image.save(name)
        out = Path(folder) / "out"
        out.mkdir()
        options = ("--prompt", PROMPT, "--seed", "0", "-o", str(out))
        together = elapsed(lambda: run_python((*CLI, "img2img", *names, *options), threads))
        alone = elapsed(lambda: [run_python((*CLI, "img2img", name, *options), threads) for name in names])
    return (together / alone,) * 3
