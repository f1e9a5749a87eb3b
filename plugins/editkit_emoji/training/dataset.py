"""The evaluation pairs of the bundled model as a data set of ``editkit evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from editkit import InvalidParameter, evaluation
from editkit_emoji import EmojiPairsParams
from editkit_emoji.training.cases import FLOOR, MOVED, SCENERY, Case, cases_of, select_pairs
from editkit_emoji.training.data import Artwork, load_artwork
from editkit_emoji.training.instructions import instruction_for
from editkit_emoji.training.pairs import ATTRIBUTES


class EmojiPairs:
    """Pairs of images with a true outcome, in place or with both images moved alike.

    The group of a case is its scenery, or the attribute that changes if there is only one scenery.
    """

    floor: str | None = FLOOR
    warnings: tuple[str, ...] = ()

    def __init__(self, artwork: Artwork, pairs_of: str, sceneries: Sequence[str], count: int) -> None:
        pairs = select_pairs(artwork, pairs_of, ATTRIBUTES)
        self.cases = [(scenery, case) for scenery in sceneries for case in cases_of(artwork, pairs, scenery, count)]
        self.by_attribute = len(sceneries) == 1

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, place: int) -> evaluation.Case:
        scenery, case = self.cases[place]
        group = case.attribute if self.by_attribute else scenery
        return case.for_evaluation(instruction_for(case.source, case.target), _name(scenery, case), group)


def _name(scenery: str, case: Case) -> str:
    return f"{scenery}: {case.source.key} to {case.target.key}"


def open_emoji_pairs(folder: Path, params: EmojiPairsParams) -> EmojiPairs:
    """Open a folder that :mod:`editkit_emoji.training.data` has written; raises InvalidParameter for another one."""
    if not (folder / f"alpha-{params.size}.npy").is_file():
        raise InvalidParameter(
            f"folder {str(folder)!r} has no images of {params.size} pixels: run python -m editkit_emoji.training.data "
            f"--data {folder} --size {params.size}"
        )
    sceneries = {"moved": MOVED, "all": tuple(SCENERY)}.get(params.scenery, (params.scenery,))
    return EmojiPairs(load_artwork(folder, params.size), params.pairs_of, sceneries, params.pairs)
