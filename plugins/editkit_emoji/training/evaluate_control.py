"""Measure how far drawings keep to the condition of a ControlNet, and print the figures as a Markdown table.

    python -m editkit_emoji.training.evaluate_control --kind edge --controlnet runs/controlnet-edge/weights

Held-out images give condition and caption. Each is drawn by diffusers' own pipelines with and without the ControlNet,
from the same noise, and the condition taken from the drawing is compared with the one asked for:

* caption: the image's own; the model alone often draws the right outlines from it, having seen the same in other
  styles and tones;
* mirrored: condition and caption disagree about what is left and what is right;
* no caption: the condition is all there is.

The image itself, once through the autoencoder, says what the model could reach at best. A drawing that has no map,
as one without a plain ground has no relief, counts as 0.
"""

from __future__ import annotations

import argparse
import dataclasses as dc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionPipeline
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from editkit_emoji.training import data
from editkit_emoji.training.autoencoder import round_trip, to_pixels
from editkit_emoji.training.conditions import KINDS, Kind, Map
from editkit_emoji.training.controlnet import as_images, write_comparison
from editkit_emoji.training.evaluate import BUNDLED, add_evaluation_options, prepare
from editkit_emoji.training.tables import bootstrap, evenly_spaced, table

Drawings = NDArray[np.uint8]
"""Images (N, H, W, 3)."""

BATCH = 25
IN_SHEET = 36
WAYS = ("caption", "mirrored", "no caption")


@dc.dataclass(frozen=True)
class ControlCase:
    """One drawing to be made: its caption, its condition (H, W), and the image (H, W, 3) that has that condition."""

    caption: str
    condition: Map
    original: NDArray[np.uint8]


def control_cases(
    kind: Kind, way: str, emojis: Sequence[data.Emoji], pixels: Drawings, count: int
) -> list[ControlCase]:
    """Up to ``count`` held-out images that have a condition, evenly spread over the set."""
    cases = []
    for emoji, image in zip(emojis, pixels, strict=True):
        if emoji.held_out:
            original = np.ascontiguousarray(image[:, ::-1]) if way == "mirrored" else image
            condition = kind.map_of(original)
            if condition is not None:
                cases.append(ControlCase("" if way == "no caption" else emoji.caption, condition, original))
    indices = np.linspace(0, len(cases) - 1, min(count, len(cases))).round().astype(int)
    return [cases[index] for index in indices]


def sample(
    pipeline: StableDiffusionPipeline | StableDiffusionControlNetPipeline,
    cases: Sequence[ControlCase],
    options: argparse.Namespace,
) -> Drawings:
    """Draw what is asked for; a drawing's noise depends on its place alone."""
    config = pipeline.unet.config
    shape = (config.in_channels, config.sample_size, config.sample_size)
    sampled = []
    for start in tqdm(range(0, len(cases), BATCH), desc=type(pipeline).__name__):
        part = cases[start : start + BATCH]
        places = range(start, start + len(part))
        noise = [torch.randn(shape, generator=torch.Generator().manual_seed(place)) for place in places]
        control = {"image": [Image.fromarray(one.condition) for one in part]}
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16):
            output = pipeline(
                [one.caption for one in part],
                **(control if isinstance(pipeline, StableDiffusionControlNetPipeline) else {}),
                latents=torch.stack(noise),
                num_inference_steps=options.steps,
                guidance_scale=options.guidance,
                output_type="np",
            )
        sampled.append(output.images)
    pixels: Drawings = np.rint(255 * np.concatenate(sampled)).astype(np.uint8)
    return pixels


def rows_of(
    kind: Kind, way: str, cases: Sequence[ControlCase], controlled: Drawings, alone: Drawings, trips: Drawings
) -> list[list[str]]:
    """One row of the table for each measure of the kind."""
    conditions = [one.condition for one in cases]
    agreements = [kind.agreements(sampled, conditions) for sampled in (controlled, alone, trips)]
    mapless = " and ".join(str(int(np.isnan(each[:, 0]).sum())) for each in agreements[:2])
    rows = []
    for measure, columns in zip(
        kind.measures, np.nan_to_num(np.stack(agreements, axis=-1)).swapaxes(0, 1), strict=True
    ):
        with_control, without, at_best = columns.T
        means = [bootstrap(lambda values: values.mean(-1), column) for column in (with_control, without)]
        with np.errstate(divide="ignore", invalid="ignore"):  # of a model that draws nothing there is no ratio
            ratio = bootstrap(lambda one, other: one.mean(-1) / other.mean(-1), with_control, without)
        rows.append([way, str(len(cases)), measure, *means, ratio, f"{at_best.mean():.2f}", mapless])
    return rows


def measure(kind: Kind, emojis: Sequence[data.Emoji], pixels: Drawings, options: argparse.Namespace) -> list[list[str]]:
    """The rows of the table; with ``--sheets`` a sheet for each way: condition, with control, without, original."""
    alone = StableDiffusionPipeline.from_pretrained(options.model)
    controlnet = ControlNetModel.from_pretrained(options.controlnet)
    controlled = StableDiffusionControlNetPipeline(
        **alone.components, controlnet=controlnet, requires_safety_checker=False
    )
    for pipeline in (alone, controlled):
        pipeline.set_progress_bar_config(disable=True)
    rows = []
    for way in options.ways:
        cases = control_cases(kind, way, emojis, pixels, options.pictures)
        originals = np.stack([one.original for one in cases])
        sampled, without = sample(controlled, cases, options), sample(alone, cases, options)
        rows += rows_of(kind, way, cases, sampled, without, to_pixels(round_trip(alone.vae, originals)))
        if options.sheets:
            conditions = as_images(np.stack([one.condition for one in cases]))
            columns = (conditions, sampled, without, originals)
            selected = [evenly_spaced(column, IN_SHEET) for column in columns]
            write_comparison(selected, options.sheets / f"{options.kind}-{way.replace(' ', '-')}.png")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_evaluation_options(parser)
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--controlnet", type=Path, required=True, metavar="FOLDER", help="weights to be measured")
    parser.add_argument("--model", type=Path, default=BUNDLED, metavar="FOLDER", help="in diffusers format")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="what else the drawing is told")
    parser.add_argument("--pictures", type=int, default=200, help="drawings of each way")
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--bfloat16", action="store_true", help="several times faster where the processor has it")
    options = parser.parse_args()
    emojis, pixels = prepare(options)
    rows = measure(KINDS[options.kind], emojis, pixels, options)
    title = f"Control by {options.kind}, {options.steps} steps, guidance {options.guidance:g}"
    head = ["condition", "images", "measure (mean)", "with control", "same noise without", "times as much"]
    print(f"\n{title}; 95 % intervals in brackets\n\n" + table([*head, "at best", "drawings without a map"], rows))


if __name__ == "__main__":
    main()
