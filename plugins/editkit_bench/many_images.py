"""Images per second of many edits: one after another, in one call, as rows, and by diffusers in a tuned batch."""

from __future__ import annotations

import functools
import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from editkit import EditkitError, apply, apply_all, edit_rows

from . import BenchParams
from .comparison import STRENGTH
from .fixture import IMAGE_COUNT, PROMPT, ComparisonFixture
from .model_configs import MODEL_CONFIGS
from .repeated_edits import new_images
from .timing import median_ms, time_in_turns, time_ratio

MANY = 64
"""Images of the comparison with a loop."""

GUIDED_STEPS, UNGUIDED_STEPS = 4, 20


def many_images_table(params: BenchParams) -> Sequence[Mapping[str, Any]]:
    """Measure edits of images that no cache has, with the bundled model."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ComparisonFixture.open(MODEL_CONFIGS["emoji"], "text", Path(folder)) as fixture,
    ):
        images = new_images(fixture.image)
        return [
            *_table(_guided_sides(fixture, images), MANY, "loop", params.rounds),
            *_table(_unguided_sides(fixture, images), IMAGE_COUNT, "diffusers batch, tuned", params.rounds),
        ]


def _guided_sides(fixture: ComparisonFixture, images: Iterator[Image.Image]) -> dict[str, Callable[[], object]]:
    """Return ways to edit many images with guidance."""
    options: dict[str, Any] = {"prompt": PROMPT, "steps": GUIDED_STEPS, "seed": 0}
    take = functools.partial(itertools.islice, images, MANY)
    shared: dict[str, Any] = {"model": fixture.model, "cache": False}
    return {
        "loop": lambda: [apply("img2img", one, **shared, **options) for one in take()],
        "one call": lambda: apply_all("img2img", take(), exact=False, **shared, **options),
        "rows": lambda: edit_all(take(), options, **shared),
    }


def _unguided_sides(fixture: ComparisonFixture, images: Iterator[Image.Image]) -> dict[str, Callable[[], object]]:
    """Return ways to edit a batch with one network row an image."""
    options: dict[str, Any] = {"prompt": PROMPT, "steps": UNGUIDED_STEPS, "seed": 0}
    options |= {"strength": STRENGTH, "guidance": 1.0}
    take = functools.partial(itertools.islice, images, IMAGE_COUNT)
    shared: dict[str, Any] = {"model": fixture.model, "cache": False}
    return {
        "diffusers batch": lambda: diffusers_batch(fixture, list(take())),
        "diffusers batch, tuned": lambda: tuned_batch(fixture.channels_last, list(take())),
        "one call": lambda: apply_all("img2img", take(), exact=False, **shared, **options),
        "rows": lambda: edit_all(take(), options, **shared),
    }


def edit_all(images: Iterator[Image.Image], options: Mapping[str, Any], **shared: Any) -> None:
    """Edit images as rows; raises the error of the first that fails."""
    for _, outcome in edit_rows(({"operation": "img2img", "image": one, **options} for one in images), **shared):
        if isinstance(outcome, EditkitError):
            raise outcome


def diffusers_batch(fixture: ComparisonFixture, images: Sequence[Image.Image], **prompt: Any) -> Any:
    """Edit images in one call of diffusers, every image with its own generator."""
    return fixture.pipeline("StableDiffusionImg2ImgPipeline")(
        **(prompt or {"prompt": [PROMPT] * len(images)}),
        image=list(images),
        strength=STRENGTH,
        num_inference_steps=UNGUIDED_STEPS,
        guidance_scale=1.0,
        generator=[fixture.generator() for _ in images],
    )


def tuned_batch(fixture: ComparisonFixture, images: Sequence[Image.Image]) -> Any:
    """Edit images in one call of diffusers in inference mode, with a prompt embedded before."""
    embedded = fixture.embedded_prompt["prompt_embeds"]
    with torch.inference_mode():
        return diffusers_batch(fixture, images, prompt_embeds=embedded.repeat(len(images), 1, 1))


def _table(sides: Mapping[str, Callable[[], object]], count: int, other: str, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each side, with the ratio of its time to that of another."""
    seconds = time_in_turns(sides, rounds)
    for name in sides:
        milliseconds, ratio = median_ms(seconds, name), time_ratio(seconds, name, other)
        yield {
            "what": f"{count} images: {name}",
            "against": other,
            "time_ratio": ratio.median,
            "time_ratio_range": [ratio.low, ratio.high],
            "images_per_second": 1000 * count / milliseconds,
        }
