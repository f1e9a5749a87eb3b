"""Measure enlargements of held-out pictures against the pictures themselves, and print a Markdown table.

    python -m editkit_emoji.training.evaluate_upscaler --model runs/upscaler/model --sheets runs/sheets

A picture of 256 pixels is averaged down to 64 and enlarged through editkit's public interface: 4 times, to be compared
with itself, and 2 times, to be compared with its averages of 128 pixels. Beside it stand Lanczos, and ``upscale``
where nothing is drawn, which is all that is known without a model: a smooth enlargement whose averages are right.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

import editkit
from editkit_emoji.training import data
from editkit_emoji.training.autoencoder import side_by_side
from editkit_emoji.training.crops import halved
from editkit_emoji.training.evaluate import decibels, mean, table

LARGE, SMALL = 256, 64
IN_SHEET = 6

Enlarge = Callable[[Image.Image, int, str], Image.Image]
"""Given a picture, the scale, and a caption."""


def lanczos(picture: Image.Image, scale: int, caption: str) -> Image.Image:
    return picture.resize((scale * picture.width, scale * picture.height), Image.Resampling.LANCZOS)


def with_model(model: editkit.Backend, told: bool, **params: Any) -> Enlarge:
    """``upscale`` with a model, told the caption or nothing."""

    def enlarge(picture: Image.Image, scale: int, caption: str) -> Image.Image:
        prompt = caption if told else ""
        result = editkit.apply("upscale", picture, model=model, scale=scale, prompt=prompt, seed=0, **params)
        larger: Image.Image = result.image
        return larger

    return enlarge


def methods_of(options: argparse.Namespace) -> dict[str, Enlarge]:
    """What is compared, Lanczos first."""
    upscaler, captions = editkit.load_model(options.model), editkit.load_model("emoji")
    return {
        "Lanczos": lanczos,
        "`upscale --strength 0`": with_model(upscaler, told=False, strength=0.0),
        "`upscale -m emoji`": with_model(captions, told=True),
        **{f"`upscale --steps {steps}`": with_model(upscaler, told=True, steps=steps) for steps in options.steps},
        f"`upscale --steps {options.steps[0]}`, no prompt": with_model(upscaler, told=False, steps=options.steps[0]),
    }


def enlargements(
    scale: int, pictures: list[data.Picture], pixels: NDArray[np.uint8], options: argparse.Namespace
) -> list[list[str]]:
    """The rows of one scale; with ``--sheets`` a sheet: the small picture, what each makes of it, the picture."""
    halves = [halved(picture) for picture in pixels]
    sources = [halved(half) for half in halves]
    targets = list(pixels) if scale == LARGE // SMALL else halves
    columns = [[np.asarray(Image.fromarray(source).resize(2 * [scale * SMALL], 0)) for source in sources]]
    rows, plain = [], None
    for name, enlarge in methods_of(options).items():
        given = zip(tqdm(sources, desc=name, mininterval=10), pictures, strict=True)
        made = [np.asarray(enlarge(Image.fromarray(source), scale, picture.caption)) for source, picture in given]
        quality = np.array([decibels(one / 255, other / 255) for one, other in zip(made, targets, strict=True)])
        plain = quality if plain is None else plain
        rows.append([f"{scale}", name, str(len(quality)), mean(quality), mean(quality - plain)])
        columns.append(made)
    if options.sheets:
        tiles = [tile for row in zip(*columns, targets, strict=True) for tile in row][: IN_SHEET * (len(columns) + 1)]
        side_by_side(tiles, len(columns) + 1).save(options.sheets / f"upscale-{scale}.png")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data.add_data_options(parser, size=LARGE)
    parser.add_argument("--model", default="emoji-upscaler", metavar="FOLDER", help="an upscaler in diffusers format")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 4], help="how many are drawn in")
    parser.add_argument("--pictures", type=int, default=200, help="held-out pictures, evenly spread over the set")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sheets", type=Path, metavar="FOLDER", help="where to write pictures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.sheets:
        options.sheets.mkdir(parents=True, exist_ok=True)
    pictures, pixels = data.load(options.data, options.size)
    held_out = [place for place, picture in enumerate(pictures) if picture.held_out]
    places = held_out[:: max(1, len(held_out) // options.pictures)][: options.pictures]
    rows = [
        row
        for scale in (2, 4)
        for row in enlargements(scale, [pictures[place] for place in places], pixels[places], options)
    ]
    print("\n" + table(["times", "method", "held-out pictures", "mean PSNR, dB", "over Lanczos, dB"], rows))


if __name__ == "__main__":
    main()
