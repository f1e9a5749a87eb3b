"""Measure a model on images that no part of it was trained on, and print the figures as Markdown tables.

    python -m editkit_emoji.training.evaluate --model plugins/editkit_emoji/model --sheets runs/sheets
    python -m editkit_emoji.training.evaluate --scenery mirrored shifted small --methods prompt-edit:steps=4
    python -m editkit_emoji.training.evaluate --methods prompt-edit "prompt-edit mutual-attention:start=0.5,beside=true"
    python -m editkit_emoji.training.evaluate --data D/unseen --pairs-of unseen

Edits use the public interface of editkit; other pipelines and samples from captions use diffusers. ``editkit.judge``
defines success, progress and collateral; success "against the round trip" replaces the true target by its autoencoder
round trip. All images of a set have the same frame, so that a network whose input is pure noise edits many of them
correctly from the captions alone. Therefore the result of a method is its gain over that blind floor on the same pairs,
and pairs are also moved, source and target alike, so that the truth stays exact.
"""

from __future__ import annotations

import argparse
import dataclasses as dc
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from tqdm import tqdm

from editkit import evaluation
from editkit_emoji import GUIDANCE
from editkit_emoji.training import data
from editkit_emoji.training.autoencoder import image_grid, psnr, round_trip, sheet, to_network, to_pixels
from editkit_emoji.training.cases import FLOOR, MOVED, SCENERY, Case, Image3, cases_of, select_pairs
from editkit_emoji.training.inverted_noise import InvertedImages, deviations, invert_images, neighbour_correlations
from editkit_emoji.training.methods import EditResult, method_of
from editkit_emoji.training.noising import encode
from editkit_emoji.training.pairs import ATTRIBUTES, Pair
from editkit_emoji.training.tables import bootstrap, evenly_spaced, mean, rate, table
from editkit_emoji.training.tones import measure_tones, tone_table

BUNDLED = Path(__file__).parents[1] / "model"
SHEET_ROWS = 12
"""Rows of a sheet of edits."""


@dc.dataclass(frozen=True)
class Score:
    """Result of one edit, and its measures."""

    case: Case
    result: EditResult
    progress: float
    collateral: float
    success: bool
    success_round_trip: bool
    psnr: float
    psnr_round_trip: float


def score(case: Case, result: EditResult, trip: Image3) -> Score:
    """Compare an edited image with the truth; ``trip`` is the autoencoder round trip of the truth."""
    return Score(case, result, *evaluation.score_against_truth(case.image, case.truth, result.pixels, trip))


Results = dict[tuple[str, str], list[Score]]
"""Scores by scenery and method, of the same cases for all methods of one scenery."""


def measure_edits(artwork: data.Artwork, vae: AutoencoderKL, options: argparse.Namespace) -> Results:
    """Edit ``--pairs`` pairs after ``--skip`` ones in each scenery by the floor and by each method."""
    pairs = select_pairs(artwork, options.pairs_of, options.attributes)
    methods = {name: method_of(name, options.model, options.steps) for name in (FLOOR, *options.methods)}
    results: Results = {}
    for scenery in options.scenery:
        cases = cases_of(artwork, pairs, scenery, options.pairs, skipped=options.skip)
        trips = to_pixels(round_trip(vae, np.stack([case.truth for case in cases])))
        for name, make in methods.items():
            progress = tqdm(cases, desc=f"{scenery}, {name}", mininterval=10)
            results[scenery, name] = [score(case, make(case), trip) for case, trip in zip(progress, trips, strict=True)]
            if options.sheets:
                write_sheets(results[scenery, name], options.sheets, f"{scenery} {name}")
        print(scenery_table({key: scores for key, scores in results.items() if key[0] == scenery}), flush=True)
    return results


def scenery_table(results: Results) -> str:
    """Table with a row per scenery and method, with the gain in success over the floor on the same cases."""
    rows = []
    for (scenery, method), scores in results.items():
        floor = successes(results[scenery, FLOOR])
        gain = "" if method == FLOOR else bootstrap(evaluation.average, successes(scores) - floor)
        samples, seconds = (np.median([getattr(one.result, cost) for one in scores]) for cost in ("samples", "seconds"))
        name = f"blind floor (`{FLOOR}`)" if method == FLOOR else f"`{method}`"
        rows.append([scenery, name, *main_figures(scores, gain), f"{samples:.0f}", f"{seconds:.2f}"])
    costs = ["network samples", "seconds"]
    return table(["images", "method", *MAIN, *costs], rows)


MAIN = ("pairs", "success", "gain over the floor", "median progress", "median collateral", "the truth's round trip, dB")


def main_figures(scores: Sequence[Score], gain: str) -> list[str]:
    progress, collateral = (np.array([getattr(one, name) for one in scores]) for name in ("progress", "collateral"))
    bound = np.median([one.psnr_round_trip for one in scores])
    success = rate([one.success for one in scores])
    middles = [bootstrap(evaluation.median, values) for values in (progress, collateral)]
    return [str(len(scores)), success, gain, *middles, f"{bound:.1f}"]


def successes(scores: Sequence[Score]) -> NDArray[np.float64]:
    return np.array([one.success for one in scores], dtype=float)


def attribute_table(scores: Sequence[Score], floor: Sequence[Score]) -> str:
    """Table with a row per attribute and one for all, with the gain over the floor."""
    rows = []
    for name in [*sorted({one.case.attribute for one in scores}), "all"]:
        belongs = np.array([name in (one.case.attribute, "all") for one in scores])
        kept, under = ([one for one, is_in in zip(each, belongs, strict=True) if is_in] for each in (scores, floor))
        gain = bootstrap(evaluation.average, successes(kept) - successes(under))
        against = rate([one.success_round_trip for one in kept])
        rows.append([name, *main_figures(kept, gain), against])
    return table(["attribute", *MAIN, "success against the round trip"], rows)


def comparison_table(results: Results, first: str) -> str:
    """Table of what each method has more than the first one on the same cases, by scenery and over all moved images."""
    present = list(dict.fromkeys(scenery for scenery, _ in results))
    moved = [scenery for scenery in present if scenery in MOVED]
    groups = [*((scenery, [scenery]) for scenery in present), *([("moved", moved)] if len(moved) > 1 else [])]
    rows = []
    for label, sceneries in groups:
        scores = {name: [one for scenery in sceneries for one in results[scenery, name]] for _, name in results}
        more = {name: paired_differences(each, scores[first]) for name, each in scores.items() if name != first}
        rows += [[label, f"`{name}`", str(len(scores[first])), *figures] for name, figures in more.items()]
    return table(["images", f"more than `{first}`", "pairs", *COMPARED], rows)


COMPARED = ("success", "progress", "collateral")


def paired_differences(scores: Sequence[Score], base: Sequence[Score]) -> list[str]:
    """Mean differences of each of :data:`COMPARED` between scores of the same cases.

    A pair in several scenes counts as one, with the mean of its differences: its edits there fail or succeed together.
    """
    numbers: dict[Pair, int] = {}
    pair_of = np.array([numbers.setdefault(one.case.pair, len(numbers)) for one in scores])
    values = (np.array([[getattr(one, name) for one in each] for each in (scores, base)], float) for name in COMPARED)
    sums = (np.bincount(pair_of, these - those) for these, those in values)
    return [bootstrap(evaluation.average, each / np.bincount(pair_of)) for each in sums]


def write_sheets(scores: Sequence[Score], folder: Path, name: str) -> None:
    """Write a sheet of some edits with their captions: source, result and truth."""
    rows = []
    for one in evenly_spaced(scores, SHEET_ROWS):
        text = f"{'ok ' if one.success else '-- '}{one.case.source.caption} -> {one.case.target.caption}"
        rows.append((text, [one.case.image, one.result.pixels, one.case.truth]))
    edit_sheet(rows, folder / f"{re.sub('[^a-z0-9.]+', '-', name)}.png")


def edit_sheet(entries: Sequence[tuple[str, Sequence[Image3]]], file: Path) -> None:
    """Write a sheet with one edit per row: its images (H, W, 3) side by side, and a text."""
    side, count = entries[0][1][0].shape[0], len(entries[0][1])
    tiles = image_grid([tile for _, row in entries for tile in row], count)
    canvas = Image.new("RGB", (tiles.width + 560, tiles.height), "white")
    canvas.paste(tiles)
    pen = ImageDraw.Draw(canvas)
    for row, (text, _) in enumerate(entries):
        pen.text((side * count + 8, row * side + side // 2 - 6), text, fill="black")
    canvas.save(file)


def autoencoder_table(artwork: data.Artwork, vae: AutoencoderKL, options: argparse.Namespace) -> str:
    """Table of the round trips of the true targets of ``--trips`` pairs in every scenery."""
    rows = []
    pairs = select_pairs(artwork, options.pairs_of, options.attributes)
    for scenery in options.scenery:
        images = np.stack([case.truth for case in cases_of(artwork, pairs, scenery, options.trips)])
        values = psnr(round_trip(vae, images), to_network(images)).numpy()
        rows.append(
            [scenery, str(len(values)), mean(values), f"{np.quantile(values, 0.05):.1f}", f"{values.min():.1f}"]
        )
    return table(["images", "truths", "mean PSNR, dB (95 %)", "worst twentieth below", "worst"], rows)


def noise_table(inverted: InvertedImages) -> str:
    deviation, correlation = deviations(inverted.noise), neighbour_correlations(inverted.noise)
    cells = [
        str(len(inverted.noise)),
        f"{deviation.min():.3f} to {deviation.max():.3f}",
        f"{correlation.mean():.3f} ({correlation.min():.3f} to {correlation.max():.3f})",
        bootstrap(evaluation.median, inverted.psnr_loss),
    ]
    head = ["held-out images", "deviation of the channels", "correlation of neighbours, mean (by channel)"]
    return table([*head, "median dB lost against the round trip"], [cells])


def nearest(latents: torch.Tensor, candidates: torch.Tensor) -> list[int]:
    """Indices of the nearest of ``candidates`` (N, C, h, w) for each of latents (B, C, h, w)."""
    return [int(index) for index in torch.cdist(latents.flatten(1), candidates.flatten(1)).argmin(1)]


@torch.no_grad()
def sample_captions(pipeline: StableDiffusionPipeline, captions: Sequence[str]) -> torch.Tensor:
    """Sample latents (B, C, h, w) with the default guidance scale of the model in 25 DDIM steps."""
    sampled = []
    for start in tqdm(range(0, len(captions), 50), desc="samples"):
        part = list(captions[start : start + 50])
        generator = torch.Generator().manual_seed(start)
        sampled.append(
            pipeline(
                part, num_inference_steps=25, guidance_scale=GUIDANCE, generator=generator, output_type="latent"
            ).images
        )
    return torch.cat(sampled)


def caption_table(artwork: data.Artwork, options: argparse.Namespace) -> str:
    """Table of how often the nearest image of the whole set has the name in the caption, style and tone aside."""
    pipeline = StableDiffusionPipeline.from_pretrained(options.model)
    pipeline.set_progress_bar_config(disable=True)
    candidates = encode(pipeline.vae, artwork.pixels)
    rows = []
    for label, held_out in (("training", False), ("held-out", True)):
        expected = [emoji for emoji in artwork.emojis if emoji.held_out == held_out]
        expected = evenly_spaced(expected, options.captions)
        sampled = sample_captions(pipeline, [emoji.caption for emoji in expected])
        nearest_emojis = [artwork.emojis[place] for place in nearest(sampled, candidates)]
        hits = [one.subject == other.subject for one, other in zip(expected, nearest_emojis, strict=True)]
        rows.append([label, str(len(hits)), rate(hits)])
        if options.sheets:
            with torch.no_grad():
                sheet(list(pipeline.vae.decode(sampled[:48]).sample), 12, options.sheets / f"drawn-{label}.png")
    return table(["captions", "sampled", "nearest image of the whole set has the name in the caption"], rows)


def add_evaluation_options(parser: argparse.ArgumentParser, *, size: int = 64) -> None:
    """Add the options that all evaluations share."""
    data.add_data_options(parser, size=size)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sheets", type=Path, metavar="FOLDER", help="folder for sheets of images")


def prepare(options: argparse.Namespace) -> tuple[list[data.Emoji], NDArray[np.uint8]]:
    """Set the number of threads, create the folder of the sheets, and load records and images (N, H, W, 3)."""
    torch.set_num_threads(options.threads)
    if options.sheets:
        options.sheets.mkdir(parents=True, exist_ok=True)
    return data.load(options.data, options.size)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_evaluation_options(parser)
    parser.add_argument("--model", type=Path, default=BUNDLED, metavar="FOLDER", help="in diffusers format")
    parser.add_argument(
        "--pairs-of", choices=("first", "added", "unseen"), default="first", help="sets that contain the pairs"
    )
    parser.add_argument("--scenery", nargs="+", default=list(SCENERY), choices=list(SCENERY))
    parser.add_argument("--attributes", nargs="+", default=ATTRIBUTES, help="attributes of the pairs")
    parser.add_argument("--methods", nargs="+", default=["prompt-edit"], help="edited by each; see methods.py")
    parser.add_argument("--steps", type=int, help="steps of an edit, by default those of model and method")
    parser.add_argument("--pairs", type=int, default=400, help="edits in each scenery, 0 for none")
    parser.add_argument("--skip", type=int, default=0, help="pairs before the first one that is edited")
    parser.add_argument("--trips", type=int, default=400, help="round trips in each scenery, 0 for none")
    parser.add_argument("--tones", type=int, default=40, help="edits of the skin tone in each style, 0 for none")
    parser.add_argument(
        "--captions", type=int, default=150, help="samples from training and from held-out captions, 0 for none"
    )
    parser.add_argument("--inversions", type=int, default=100, help="held-out images to invert, 0 for none")
    return parser.parse_args()


def main() -> None:
    options = read_options()
    prepare(options)
    artwork = data.load_artwork(options.data, options.size)
    vae = AutoencoderKL.from_pretrained(options.model, subfolder="vae").eval()
    sections: list[tuple[str, int, Callable[[], str]]] = [
        ("Autoencoder", options.trips, lambda: autoencoder_table(artwork, vae, options)),
        (
            "Noise from DDIM inversion, 50 steps, guidance 1",
            options.inversions,
            lambda: inversions(artwork, options),
        ),
        ("Edits; 95 % intervals in brackets", options.pairs, lambda: edits(artwork, vae, options)),
        (f"Skin tones, `{options.methods[0]}`", options.tones, lambda: tones(artwork, options)),
        (
            f"Images from captions, 25 steps, guidance {GUIDANCE:g}",
            options.captions,
            lambda: caption_table(artwork, options),
        ),
    ]
    for title, count, section in sections:
        if count:
            print(f"\n{title}\n\n{section()}", flush=True)


def inversions(artwork: data.Artwork, options: argparse.Namespace) -> str:
    held_out = evenly_spaced(data.places(artwork.emojis, held_out=True), options.inversions)
    emojis = [artwork.emojis[place] for place in held_out]
    return noise_table(invert_images(emojis, artwork.pixels[held_out], options.model))


def edits(artwork: data.Artwork, vae: AutoencoderKL, options: argparse.Namespace) -> str:
    """Measure the edits and print the table of each scenery; return the other tables."""
    results = measure_edits(artwork, vae, options)
    first, kind = options.methods[0], options.scenery[0]
    by_attribute = attribute_table(results[kind, first], results[kind, FLOOR])
    return f"`{first}`, {kind}\n\n{by_attribute}\nPaired\n\n{comparison_table(results, first)}"


def tones(artwork: data.Artwork, options: argparse.Namespace) -> str:
    make = method_of(options.methods[0], options.model, options.steps)
    styles = sorted({emoji.style for emoji in artwork.emojis})
    return tone_table(measure_tones(artwork, styles, make, options.tones))


if __name__ == "__main__":
    main()
