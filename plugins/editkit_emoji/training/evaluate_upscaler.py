"""Measure enlargements of held-out images against the images themselves, and print a Markdown table.

    python -m editkit_emoji.training.evaluate_upscaler --model runs/upscaler/model --sheets runs/sheets

An image of 256 pixels is averaged down to 64 and enlarged through the public interface of editkit: 4 times, compared
with itself, and 2 times, compared with its averages of 128 pixels. The baselines are Lanczos and ``upscale`` without
sampling, a smooth enlargement with the right averages.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

import editkit
from editkit import evaluation
from editkit_emoji.training import data
from editkit_emoji.training.autoencoder import image_grid
from editkit_emoji.training.crops import halve
from editkit_emoji.training.evaluate import add_evaluation_options, prepare
from editkit_emoji.training.tables import evenly_spaced, mean, table

LARGE, SMALL = 256, 64
IN_SHEET = 6

Images = Sequence[NDArray[np.uint8]]
"""Each (H, W, 3)."""
Enlarge = Callable[[Image.Image, int, str], Image.Image]
"""Function of an image, the scale, and a caption."""


def lanczos(image: Image.Image, scale: int, caption: str) -> Image.Image:
    return image.resize((scale * image.width, scale * image.height), Image.Resampling.LANCZOS)


def with_model(model: editkit.Backend, with_caption: bool, **params: Any) -> Enlarge:
    """Return ``upscale`` with a model, conditioned on the caption or on an empty prompt."""

    def enlarge(image: Image.Image, scale: int, caption: str) -> Image.Image:
        prompt = caption if with_caption else ""
        result = editkit.apply("upscale", image, model=model, scale=scale, prompt=prompt, seed=0, **params)
        larger: Image.Image = result.image
        return larger

    return enlarge


def methods_of(options: argparse.Namespace) -> dict[str, Enlarge]:
    """Return the compared methods, Lanczos first."""
    upscaler, captions = editkit.load_model(options.model), editkit.load_model("emoji")
    return {
        "Lanczos": lanczos,
        "`upscale --strength 0`": with_model(upscaler, with_caption=False, strength=0.0),
        "`upscale -m emoji`": with_model(captions, with_caption=True),
        **{
            f"`upscale --steps {steps}`": with_model(upscaler, with_caption=True, steps=steps)
            for steps in options.steps
        },
        f"`upscale --steps {options.steps[0]}`, no prompt": with_model(
            upscaler, with_caption=False, steps=options.steps[0]
        ),
    }


def measure(
    scale: int, sources: Images, targets: Images, captions: Sequence[str], methods: Mapping[str, Enlarge]
) -> tuple[list[list[str]], Image.Image]:
    """Return the rows of one scale, and a sheet: the small image, each enlargement, the image."""
    columns = [[np.asarray(Image.fromarray(source).resize(2 * [scale * SMALL], 0)) for source in sources]]
    rows, plain = [], None
    for name, enlarge in methods.items():
        inputs = zip(tqdm(sources, desc=name, mininterval=10), captions, strict=True)
        enlarged = [np.asarray(enlarge(Image.fromarray(source), scale, caption)) for source, caption in inputs]
        quality = np.array(
            [evaluation.decibels(one / 255, other / 255) for one, other in zip(enlarged, targets, strict=True)]
        )
        plain = quality if plain is None else plain
        rows.append([f"{scale}", name, str(len(quality)), mean(quality), mean(quality - plain)])
        columns.append(enlarged)
    columns.append(list(targets))
    tiles = [tile for row in zip(*columns, strict=True) for tile in row]
    return rows, image_grid(tiles[: IN_SHEET * len(columns)], len(columns))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_evaluation_options(parser, size=LARGE)
    parser.add_argument("--model", default="emoji-upscaler", metavar="FOLDER", help="an upscaler in diffusers format")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 4], help="numbers of sampling steps")
    parser.add_argument("--pictures", type=int, default=200, help="held-out images, evenly spread over the set")
    options = parser.parse_args()
    emojis, pixels = prepare(options)
    places = evenly_spaced(data.places(emojis, held_out=True), options.pictures)
    captions, large = [emojis[place].caption for place in places], list(pixels[places])
    halves = [halve(image) for image in large]
    sources, methods = [halve(half) for half in halves], methods_of(options)
    rows = []
    for scale, targets in ((2, halves), (4, large)):
        measured, sheet = measure(scale, sources, targets, captions, methods)
        rows += measured
        if options.sheets:
            sheet.save(options.sheets / f"upscale-{scale}.png")
    print("\n" + table(["times", "method", "held-out images", "mean PSNR, dB", "over Lanczos, dB"], rows))


if __name__ == "__main__":
    main()
