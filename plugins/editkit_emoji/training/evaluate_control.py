"""Measure the agreement of samples with the condition of a ControlNet, and print a Markdown table.

    python -m editkit_emoji.training.evaluate_control --kind edge --controlnet runs/controlnet/weights

Condition and caption come from held-out images. The pipelines of diffusers sample each case from the same noise with
and without the ControlNet, and the condition of the sample is compared with the input condition:

* caption: the caption of the image; the model alone often samples the right outlines from it, which training images in
  other styles and tones share;
* mirrored: the condition is mirrored and the caption is not;
* no caption: only the condition.

The autoencoder round trip of the image is the bound. A sample without a map, such as a relief without a plain
background, counts as 0.
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

Images = NDArray[np.uint8]
"""Images (N, H, W, 3)."""

BATCH = 25
IN_SHEET = 36
WAYS = ("caption", "mirrored", "no caption")


@dc.dataclass(frozen=True)
class ControlCase:
    """One sample to evaluate: its caption, its condition (H, W), and the image (H, W, 3) of that condition."""

    caption: str
    condition: Map
    original: NDArray[np.uint8]


def control_cases(kind: Kind, way: str, emojis: Sequence[data.Emoji], pixels: Images, count: int) -> list[ControlCase]:
    """Return up to ``count`` held-out images that have a condition, evenly spread over the set."""
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
) -> Images:
    """Sample images (N, H, W, 3) for cases; the noise of a sample depends on its index only."""
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
    pixels: Images = np.rint(255 * np.concatenate(sampled)).astype(np.uint8)
    return pixels


def rows_of(
    kind: Kind, way: str, cases: Sequence[ControlCase], controlled: Images, alone: Images, trips: Images
) -> list[list[str]]:
    """Table rows, one per measure of the kind."""
    conditions = [one.condition for one in cases]
    agreements = [kind.agreements(sampled, conditions) for sampled in (controlled, alone, trips)]
    mapless = " and ".join(str(int(np.isnan(each[:, 0]).sum())) for each in agreements[:2])
    rows = []
    for measure, columns in zip(
        kind.measures, np.nan_to_num(np.stack(agreements, axis=-1)).swapaxes(0, 1), strict=True
    ):
        with_control, without, at_best = columns.T
        means = [bootstrap(lambda values: values.mean(-1), column) for column in (with_control, without)]
        with np.errstate(divide="ignore", invalid="ignore"):  # no ratio if no sample without control agrees
            ratio = bootstrap(lambda one, other: one.mean(-1) / other.mean(-1), with_control, without)
        rows.append([way, str(len(cases)), measure, *means, ratio, f"{at_best.mean():.2f}", mapless])
    return rows


def measure(kind: Kind, emojis: Sequence[data.Emoji], pixels: Images, options: argparse.Namespace) -> list[list[str]]:
    """Return the table rows; with ``--sheets`` write condition, with control, without, and original for each way."""
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
    parser.add_argument("--controlnet", type=Path, required=True, metavar="FOLDER", help="weights of the ControlNet")
    parser.add_argument("--model", type=Path, default=BUNDLED, metavar="FOLDER", help="in diffusers format")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="captions beside the condition")
    parser.add_argument("--pictures", type=int, default=200, help="samples of each way")
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--bfloat16", action="store_true", help="several times faster on CPUs that support it")
    options = parser.parse_args()
    emojis, pixels = prepare(options)
    rows = measure(KINDS[options.kind], emojis, pixels, options)
    title = f"Control by {options.kind}, {options.steps} steps, guidance {options.guidance:g}"
    head = ["condition", "images", "measure (mean)", "with control", "same noise without", "times as much"]
    print(f"\n{title}; 95 % intervals in brackets\n\n" + table([*head, "at best", "samples without a map"], rows))


if __name__ == "__main__":
    main()
