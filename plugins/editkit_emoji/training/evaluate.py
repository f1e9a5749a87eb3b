"""Measure a model against held-out pictures and print the figures as Markdown tables.

    python -m editkit_emoji.training.evaluate --model plugins/editkit_emoji/model --sheets runs/sheets

Edits go through editkit's public interface, drawings from captions through diffusers' own pipeline. What success,
progress and collateral are is said in ``editkit.judge``; success "against the round trip" puts the autoencoder's round
trip of the true target in the target's place.
"""

from __future__ import annotations

import argparse
import dataclasses as dc
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from tqdm import tqdm

import editkit
from editkit_emoji.training import data
from editkit_emoji.training.autoencoder import psnr, round_trip, sheet, side_by_side, to_network
from editkit_emoji.training.inverted_noise import Inverted, deviations, invert_each, neighbour_correlations
from editkit_emoji.training.methods import Made, method_of
from editkit_emoji.training.noising import encode
from editkit_emoji.training.pairs import INTERCHANGEABLE, Pair, evaluation_pairs, ordered

BUNDLED = Path(__file__).parents[1] / "model"
TRIAL = ("style", "skin tone", "colour", "gender")
"""The attributes an earlier trial was measured on, so that its figures have something to stand beside."""
ATTRIBUTES = ("clock", "style", "skin tone", *INTERCHANGEABLE)
Z = 1.959964
"""Standard deviations that hold 95 % of a normal distribution."""

Pixels = NDArray[np.float64]
Items = TypeVar("Items", bound=Sequence[Any] | NDArray[Any])
Figures = NDArray[np.float64]
"""Figures (N,), one a picture or an edit."""


@dc.dataclass(frozen=True)
class Score:
    """How one edit came out."""

    pair: Pair
    progress: float
    collateral: float
    success: bool
    success_round_trip: bool
    psnr: float
    psnr_round_trip: float


def decibels(one: Pixels, other: Pixels) -> float:
    """PSNR of pictures in [0, 1]; 99 for equal ones."""
    error = float(np.square(one - other).mean())
    return 99.0 if error == 0 else -10 * math.log10(error)


def score(pair: Pair, source: Pixels, target: Pixels, output: Pixels, trip: Pixels) -> Score:
    """Compare an output with its true target, all (H, W, 3) in [0, 1]; ``trip`` is the target's own round trip."""
    judged = editkit.judge(source, target, output)
    return Score(
        pair,
        *judged,
        success_round_trip=editkit.judge(source, trip, output).success,
        psnr=decibels(output, target),
        psnr_round_trip=decibels(trip, target),
    )


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a rate (Wilson 1927, "Probable inference")."""
    middle = (hits + Z**2 / 2) / (count + Z**2)
    half = Z / (count + Z**2) * math.sqrt(hits * (count - hits) / count + Z**2 / 4)
    return max(0.0, middle - half), min(1.0, middle + half)


def rate(hits: Sequence[bool]) -> str:
    low, high = wilson(sum(hits), len(hits))
    return f"{sum(hits) / len(hits):.2f} ({low:.2f} to {high:.2f})"


def bootstrap(of: Callable[..., Figures], *figures: Figures) -> str:
    """What ``of`` makes of figures (N,) of the same pictures, with a 95 % interval from 2,000 bootstrap samples.

    It is given figures (..., N) and answers for each row of N.
    """
    places = np.random.default_rng(0).integers(len(figures[0]), size=(2000, len(figures[0])))
    low, high = np.quantile(of(*(figure[places] for figure in figures)), [0.025, 0.975])
    return f"{of(*figures):.2f} ({low:.2f} to {high:.2f})"


def mean(values: NDArray[np.floating]) -> str:
    half = Z * values.std(ddof=1) / math.sqrt(len(values))
    return f"{values.mean():.1f} ({values.mean() - half:.1f} to {values.mean() + half:.1f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def spread(items: Items, count: int) -> Items:
    """Up to ``count`` of a sequence or an array, evenly spread over it."""
    every = max(1, len(items) // count)
    return items[::every][:count]  # type: ignore[return-value]  # a slice is of the sequence's own kind


def add_evaluation_options(parser: argparse.ArgumentParser, *, size: int = 64) -> None:
    """The options every evaluation shares."""
    data.add_data_options(parser, size=size)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sheets", type=Path, metavar="FOLDER", help="where to write pictures")


def begin(options: argparse.Namespace) -> tuple[list[data.Picture], NDArray[np.uint8]]:
    """Set the threads, make the folder of the sheets, and read the pictures (N, H, W, 3)."""
    torch.set_num_threads(options.threads)
    if options.sheets:
        options.sheets.mkdir(parents=True, exist_ok=True)
    return data.load(options.data, options.size)


def autoencoder_table(decibels_each: torch.Tensor) -> str:
    values = decibels_each.numpy()
    cells = [str(len(values)), mean(values), f"{np.quantile(values, 0.05):.1f}", f"{values.min():.1f}"]
    return table(["held-out pictures", "mean PSNR, dB (95 %)", "worst twentieth below", "worst"], [cells])


def noise_table(inverted: Inverted) -> str:
    spread, alike = deviations(inverted.noise), neighbour_correlations(inverted.noise)
    cells = [
        str(len(inverted.noise)),
        f"{spread.min():.3f} to {spread.max():.3f}",
        f"{alike.mean():.3f} ({alike.min():.3f} to {alike.max():.3f})",
        bootstrap(lambda values: np.median(values, axis=-1), inverted.lost),
    ]
    head = ["held-out pictures", "deviation of the channels", "correlation of neighbours, mean (by channel)"]
    return table([*head, "median dB lost against the round trip"], [cells])


def edit_table(scores: Sequence[Score]) -> str:
    groups: list[tuple[str, Callable[[Score], bool]]] = [
        (name, lambda s, name=name: s.pair.attribute == name)  # type: ignore[misc]
        for name in sorted({s.pair.attribute for s in scores})
    ]
    groups += [("the trial's four", lambda s: s.pair.attribute in TRIAL), ("all", lambda s: True)]
    rows = [edit_row(name, [s for s in scores if belongs(s)]) for name, belongs in groups]
    columns = ["success", "success against the round trip", "median progress", "median collateral", "median PSNR, dB"]
    return table(["attribute", "pairs", *columns, "round trip of the target, dB"], [row for row in rows if row])


def edit_row(name: str, scores: Sequence[Score]) -> list[str]:
    if not scores:
        return []
    figures = [np.array([getattr(s, field) for s in scores]) for field in ("progress", "collateral", "psnr")]
    numbers = [bootstrap(lambda values: np.median(values, axis=-1), each) for each in figures]
    rates = [rate([s.success for s in scores]), rate([s.success_round_trip for s in scores])]
    return [name, str(len(scores)), *rates, *numbers, f"{np.median([s.psnr_round_trip for s in scores]):.1f}"]


def summary(results: Mapping[str, tuple[Sequence[Score], Sequence[Made]]]) -> str:
    """All methods over the same pairs, a row each, and how many more of them the first one makes right."""
    rows = []
    first = np.array([score.success for score in next(iter(results.values()))[0]], dtype=float)
    for method, (scores, made) in results.items():
        _, *costs = zip(*made, strict=True)
        calls, samples, seconds = map(np.median, costs)
        cost = [f"{calls:.0f}", f"{samples:.0f}", f"{seconds:.2f}"]
        _, count, success, _, progress, collateral, *_ = edit_row("", scores)
        behind = bootstrap(lambda values: values.mean(-1), first - [score.success for score in scores])
        rows.append([f"`{method}`", count, success, behind, progress, collateral, *cost])
    head = ["method", "pairs", "success", "behind the first", "median progress", "median collateral"]
    return table([*head, "network calls", "network samples", "seconds"], rows)


def edit_sheet(shown: Sequence[tuple[str, Sequence[NDArray[np.uint8]]]], file: Path) -> None:
    """One edit a row: its pictures (H, W, 3) side by side, and what was asked beside them."""
    side, count = shown[0][1][0].shape[0], len(shown[0][1])
    tiles = side_by_side([tile for _, row in shown for tile in row], count)
    canvas = Image.new("RGB", (tiles.width + 560, tiles.height), "white")
    canvas.paste(tiles)
    pen = ImageDraw.Draw(canvas)
    for row, (text, _) in enumerate(shown):
        pen.text((side * count + 8, row * side + side // 2 - 6), text, fill="black")
    canvas.save(file)


def measure_edits(
    pictures: Sequence[data.Picture],
    pixels: NDArray[np.uint8],
    vae: AutoencoderKL,
    method: str,
    options: argparse.Namespace,
) -> tuple[list[Score], list[Made]]:
    """Score the first ``--pairs`` edits; with ``--sheets`` a sheet for each attribute: source, output, true target."""
    wanted = [pair for pair in evaluation_pairs(pictures) if pair.attribute in options.attributes]
    pairs = ordered(wanted, pictures)[: options.pairs]
    trips = (round_trip(vae, pixels[[pair.target for pair in pairs]]).clamp(-1, 1) + 1) / 2
    make = method_of(method, options.model, options.steps)
    scores, costs, shown = [], [], dict[str, list[tuple[str, list[NDArray[np.uint8]]]]]()
    for pair, trip in zip(tqdm(pairs, desc=method, mininterval=10), trips, strict=True):
        source, target = pixels[pair.source], pixels[pair.target]
        made = make(pair, pictures, Image.fromarray(source))
        trip_pixels = trip.permute(1, 2, 0).double().numpy()
        known = score(pair, source / 255, target / 255, made.pixels / 255, trip_pixels)
        scores.append(known)
        costs.append(made)
        text = f"{'ok ' if known.success else '-- '}{pictures[pair.source].caption} -> {pictures[pair.target].caption}"
        shown.setdefault(pair.attribute, []).append((text, [source, made.pixels, target]))
    if options.sheets:
        for attribute, rows in shown.items():
            name = f"{method.partition(':')[0]}-{attribute.replace(' ', '-')}.png"
            edit_sheet(rows[:12], options.sheets / name)
    return scores, costs


def nearest(latents: torch.Tensor, among: torch.Tensor) -> list[int]:
    """For each of latents (B, C, h, w), the place of the nearest of ``among`` (N, C, h, w)."""
    return [int(place) for place in torch.cdist(latents.flatten(1), among.flatten(1)).argmin(1)]


@torch.no_grad()
def draw_captions(pipeline: StableDiffusionPipeline, captions: Sequence[str]) -> torch.Tensor:
    """Latents (B, C, h, w) drawn with guidance 3 in 25 DDIM steps."""
    drawn = []
    for start in tqdm(range(0, len(captions), 50), desc="drawings"):
        part = list(captions[start : start + 50])
        generator = torch.Generator().manual_seed(start)
        drawn.append(
            pipeline(part, num_inference_steps=25, guidance_scale=3.0, generator=generator, output_type="latent").images
        )
    return torch.cat(drawn)


def measure_drawings(
    pictures: Sequence[data.Picture], pixels: NDArray[np.uint8], options: argparse.Namespace
) -> list[tuple[str, list[bool]]]:
    """Whether the picture of the whole set that is nearest to a drawing bears the asked name, style and tone aside."""
    pipeline = StableDiffusionPipeline.from_pretrained(options.model)
    pipeline.set_progress_bar_config(disable=True)
    among = encode(pipeline.vae, pixels)
    results = []
    for label, held_out in (("training", False), ("held-out", True)):
        asked = [picture for picture in pictures if picture.held_out == held_out]
        asked = spread(asked, options.captions)
        drawn = draw_captions(pipeline, [picture.caption for picture in asked])
        found = [pictures[place] for place in nearest(drawn, among)]
        results.append((label, [one.subject == other.subject for one, other in zip(asked, found, strict=True)]))
        if options.sheets:
            with torch.no_grad():
                sheet(list(pipeline.vae.decode(drawn[:48]).sample), 12, options.sheets / f"drawn-{label}.png")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_evaluation_options(parser)
    parser.add_argument("--model", type=Path, default=BUNDLED, metavar="FOLDER", help="in diffusers format")
    parser.add_argument("--trips", type=int, default=1000, help="held-out pictures to encode and decode, 0 for none")
    parser.add_argument("--pairs", type=int, default=400, help="edits to make, 0 for none")
    parser.add_argument(
        "--captions", type=int, default=150, help="drawings of training and of held-out captions, 0 for none"
    )
    parser.add_argument("--inversions", type=int, default=100, help="held-out pictures to invert, 0 for none")
    parser.add_argument("--steps", type=int, help="of an edit; those usual for model and method where not given")
    parser.add_argument("--attributes", nargs="+", default=ATTRIBUTES, help="which attributes of pairs to edit")
    parser.add_argument(
        "--methods", nargs="+", default=["prompt-edit"], help="see methods.py: instruct:guidance=1.25 diffusers-ddim"
    )
    options = parser.parse_args()
    pictures, pixels = begin(options)
    held_out = pixels[[picture.held_out for picture in pictures]]
    vae = AutoencoderKL.from_pretrained(options.model, subfolder="vae").eval()

    if options.trips:
        trips = round_trip(vae, held_out[: options.trips])
        shown = to_network(held_out[: options.trips])
        print("\nAutoencoder\n\n" + autoencoder_table(psnr(trips, shown)))
        if options.sheets:
            tiles = [tile for pair in zip(shown[::14], trips[::14], strict=True) for tile in pair]
            sheet(tiles, 12, options.sheets / "autoencoder.png")
    if options.inversions:
        unseen = [picture for picture in pictures if picture.held_out]
        inverted = invert_each(spread(unseen, options.inversions), spread(held_out, options.inversions), options.model)
        print("\nNoise found by DDIM inversion, 50 steps, guidance 1\n\n" + noise_table(inverted), flush=True)
    results = {}
    for method in options.methods if options.pairs else ():
        results[method] = scores, _ = measure_edits(pictures, pixels, vae, method, options)
        print(f"\n{method}; 95 % intervals in brackets\n\n" + edit_table(scores), flush=True)
    if len(results) > 1:
        print("\nAll methods\n\n" + summary(results), flush=True)
    if options.captions:
        rows = [[label, str(len(hits)), rate(hits)] for label, hits in measure_drawings(pictures, pixels, options)]
        head = ["captions", "drawn", "nearest picture of the whole set bears the asked name"]
        print("\nDrawings from captions, 25 steps, guidance 3\n\n" + table(head, rows))


if __name__ == "__main__":
    main()
