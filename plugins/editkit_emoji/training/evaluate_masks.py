"""Measure automatic masks of held-out pairs against the true change, and print a Markdown table.

    python -m editkit_emoji.training.evaluate_masks --data D --masks difference attention attention:0.6 both --sheets S
    python -m editkit_emoji.training.evaluate_masks --scenery small --edit prompt-edit:steps=8

A pixel truly changes where the images of a pair differ by more than :data:`CHANGED` levels in a channel. A mask, of
``flow-edit`` for both captions, is compared with it by intersection over union where it is at least one half, which is
the binary mask of the paper. The floors are a mask of the whole image and a centred disc of half of its area.

With ``--edit`` the masks are those of edits by this method, and a second table has the figures of the edits:
``editkit.judge`` defines success, progress and collateral, and leakage is the share of the squared change that lies
outside the true change.
"""

from __future__ import annotations

import argparse
import dataclasses as dc
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

import editkit
from editkit import evaluation
from editkit_emoji.training import data
from editkit_emoji.training.cases import SCENERY, Case, cases_of, select_pairs
from editkit_emoji.training.evaluate import add_evaluation_options, edit_sheet, prepare
from editkit_emoji.training.pairs import ATTRIBUTES
from editkit_emoji.training.tables import bootstrap, evenly_spaced, table

CHANGED = 25
"""Largest difference of a channel, in levels of 255, of a pixel that counts as unchanged."""
DISC = 0.5
"""Share of the image in the centred disc."""
IN_SHEET = 10

Levels = NDArray[np.uint8]
"""Mask (H, W)."""
Find = Callable[[Case], Levels]
"""Function that finds the mask of a case."""
Make = Callable[[Case], editkit.Result]
"""Function that edits a case under a mask."""


class MaskScore(NamedTuple):
    """Agreement of a mask with the true change."""

    overlap: float
    """Intersection over union."""
    precision: float
    recall: float
    share: float
    """Share of the image in the mask."""


def true_change(case: Case) -> NDArray[np.bool_]:
    """Return where the images of a case differ, (H, W)."""
    difference = np.abs(case.image.astype(np.int16) - case.truth).max(-1)
    return np.asarray(difference > CHANGED)


def score_mask(mask: Levels, truth: NDArray[np.bool_]) -> MaskScore:
    """Compare a mask, marked from one half on, with the true change."""
    marked = mask >= 128
    both, either = (marked & truth).sum(), (marked | truth).sum()
    share, true = max(1, int(marked.sum())), max(1, int(truth.sum()))
    return MaskScore(float(both / max(1, int(either))), float(both / share), float(both / true), float(marked.mean()))


def whole(case: Case) -> Levels:
    return np.full(case.image.shape[:2], 255, np.uint8)


def disc(case: Case) -> Levels:
    height, width = case.image.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    radius = (rows - (height - 1) / 2) ** 2 / height**2 + (columns - (width - 1) / 2) ** 2 / width**2
    return np.where(np.pi * radius <= DISC, 255, 0).astype(np.uint8)


def automatic(model: editkit.Backend, text: str) -> Find:
    """Return a method with its threshold after a colon, such as ``attention:0.6``; without one the published."""
    method, _, threshold = text.partition(":")

    def find(case: Case) -> Levels:
        result = editkit.apply(
            "flow-edit",
            Image.fromarray(case.image),
            model=model,
            source=case.source.caption,
            target=case.target.caption,
            auto_mask=method,
            mask_threshold=float(threshold) if threshold else None,
            steps=1,
            frame="off",
            seed=0,
        )
        return np.asarray(result.mask)

    return find


class EditScore(NamedTuple):
    """Measures of an edit under a mask."""

    success: float
    progress: float
    collateral: float
    leakage: float


def score_edit(case: Case, result: Levels) -> EditScore:
    """Compare an edited image (H, W, 3) with the true outcome."""
    judgement = editkit.judge(case.image, case.truth, result)
    change = np.square(result.astype(np.float64) - case.image)
    leakage = float(change[~true_change(case)].sum() / max(1.0, float(change.sum())))
    return EditScore(float(judgement.success), judgement.progress, judgement.collateral, leakage)


def masked_edits(model: editkit.Backend, text: str, masks: Sequence[str]) -> dict[str, Make]:
    """Return edits by a method: without a mask, under the disc, and under each automatic mask."""

    def under(options: str, mask: Find | None = None) -> Make:
        operation, _, own = text.partition(":")
        method = evaluation.EditMethod.parse(f"{operation}:{','.join(filter(None, [own, options]))}")

        def make(case: Case) -> editkit.Result:
            given = case.for_evaluation("")
            if mask is not None:
                given = dc.replace(given, mask=Image.fromarray(mask(case)))
            return method.edit(given, model, seed=0)

        return make

    ways = {"whole image": under(""), "centred disc": under("mask=annotated", disc)}
    for one in masks:
        name, _, threshold = one.partition(":")
        ways[f"`{one}`"] = under(f"auto_mask={name}" + (f",mask_threshold={threshold}" if threshold else ""))
    return ways


def edit_table(scores: dict[str, list[EditScore]]) -> str:
    """Table with a row for the edits under each mask, with differences to those without a mask on the same pairs."""
    values = {name: np.array(each, np.float64) for name, each in scores.items()}
    plain = values["whole image"]
    rows = []
    for name, each in values.items():
        more = [bootstrap(evaluation.average, column) for column in (each - plain).T] if each is not plain else [""] * 4
        cells = itertools.chain.from_iterable(zip([f"{value:.2f}" for value in each.mean(0)], more, strict=True))
        rows.append([name, str(len(each)), *cells])
    head = itertools.chain.from_iterable((name, "more") for name in EditScore._fields)
    return table(["mask", "pairs", *head], rows)


def mask_table(scores: dict[str, list[MaskScore]]) -> str:
    """Table with a row for each mask, with the gain in overlap over the better floor on the same pairs."""
    overlaps = {name: np.array([one.overlap for one in each]) for name, each in scores.items()}
    floor = max(list(scores)[:2], key=lambda name: float(overlaps[name].mean()))
    rows = []
    for name, each in scores.items():
        precision, recall, share = (np.mean([getattr(one, part) for one in each]) for part in MaskScore._fields[1:])
        gain = "" if name in list(scores)[:2] else bootstrap(evaluation.average, overlaps[name] - overlaps[floor])
        figures = [f"{value:.2f}" for value in (precision, recall, share)]
        rows.append([name, str(len(each)), bootstrap(evaluation.average, overlaps[name]), gain, *figures])
    return table(["mask", "pairs", "overlap", f"gain over the {floor}", "precision", "recall", "share"], rows)


def write_sheet(cases: Sequence[Case], masks: dict[str, list[Levels]], options: argparse.Namespace) -> None:
    """Write a sheet of sources, truths, true changes and masks."""
    chosen = evenly_spaced(range(len(cases)), IN_SHEET)
    rows = []
    for place in chosen:
        case = cases[place]
        levels = [255 * true_change(case).astype(np.uint8), *(each[place] for each in masks.values())]
        images = [case.image, case.truth, *(np.dstack([one] * 3) for one in levels)]
        rows.append((f"{case.source.caption} -> {case.target.caption}", images))
    edit_sheet(rows, options.sheets / "masks.png")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_evaluation_options(parser)
    parser.add_argument("--model", type=str, default="emoji")
    parser.add_argument(
        "--masks", nargs="+", default=["difference", "attention", "both"], help="METHOD or METHOD:THRESHOLD"
    )
    parser.add_argument("--attributes", nargs="+", default=ATTRIBUTES, help="attributes of the pairs")
    parser.add_argument("--edit", metavar="METHOD", help="also edit under each mask, such as prompt-edit:steps=8")
    parser.add_argument("--scenery", nargs="+", default=["in place"], choices=list(SCENERY))
    parser.add_argument("--pairs", type=int, default=100)
    return parser.parse_args()


def find_masks(
    cases: Sequence[Case], model: editkit.Backend, options: argparse.Namespace
) -> tuple[dict[str, list[Levels]], dict[str, list[EditScore]]]:
    """Return the masks of cases by their names, and with ``--edit`` the scores of edits under them."""
    masks: dict[str, list[Levels]] = {}
    scores: dict[str, list[EditScore]] = {}
    if not options.edit:
        ways: dict[str, Find] = {"whole image": whole, "centred disc": disc}
        ways |= {f"`{text}`": automatic(model, text) for text in options.masks}
        for name, find in ways.items():
            masks[name] = [find(case) for case in tqdm(cases, desc=name, mininterval=10)]
        return masks, scores
    for name, make in masked_edits(model, options.edit, options.masks).items():
        results = [make(case) for case in tqdm(cases, desc=name, mininterval=10)]
        pairs = list(zip(cases, results, strict=True))
        masks[name] = [whole(case) if result.mask is None else np.asarray(result.mask) for case, result in pairs]
        scores[name] = [score_edit(case, np.asarray(result.image.convert("RGB"))) for case, result in pairs]
    return masks, scores


def main() -> None:
    options = read_options()
    prepare(options)
    artwork = data.load_artwork(options.data, options.size)
    pairs = select_pairs(artwork, "first", options.attributes)
    cases = [case for scenery in options.scenery for case in cases_of(artwork, pairs, scenery, options.pairs)]
    masks, edits = find_masks(cases, editkit.load_model(options.model), options)
    truths = [true_change(case) for case in cases]
    scores = {
        name: [score_mask(mask, truth) for mask, truth in zip(each, truths, strict=True)]
        for name, each in masks.items()
    }
    print(f"\n{', '.join(options.scenery)}; true change {np.mean(truths):.2f} of the image\n\n{mask_table(scores)}")
    if edits:
        print(edit_table(edits))
    if options.sheets:
        write_sheet(cases, masks, options)


if __name__ == "__main__":
    main()
