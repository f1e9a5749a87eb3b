"""Measure whether edits of the skin tone result in the tone in the prompt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from editkit_emoji.training.cases import Case, case_of
from editkit_emoji.training.data import Artwork
from editkit_emoji.training.methods import Method
from editkit_emoji.training.pairs import all_pairs, ordered
from editkit_emoji.training.tables import rate, table


class ToneEdit(NamedTuple):
    """An edit of the tone, and the tone of the image of its family that is nearest to the result."""

    style: str
    expected: str
    nearest: str | None


def tone_cases(artwork: Artwork, style: str, count: int) -> list[Case]:
    """Return edits in one style with held-out targets, from a tone or none to another tone."""
    emojis = artwork.emojis
    selected = [pair for pair in all_pairs(emojis) if pair.attribute == "skin tone" and emojis[pair.target].tone]
    selected = [pair for pair in selected if emojis[pair.target].held_out and emojis[pair.target].style == style]
    return [case_of(artwork, pair, "in place") for pair in ordered(selected, emojis)[:count]]


def measure_tones(artwork: Artwork, styles: Sequence[str], make: Method, count: int) -> list[ToneEdit]:
    """Make up to ``count`` edits in each style and find the tone of the nearest image of each."""
    families: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, emoji in enumerate(artwork.emojis):
        families[emoji.style, emoji.subject].append(place)
    measured = []
    for style in styles:
        for case in tqdm(tone_cases(artwork, style, count), desc=f"tones, {style}", mininterval=10):
            family = families[style, case.target.subject]
            output = make(case).pixels.astype(float)
            distances = [np.square(artwork.pixels[place] - output).sum() for place in family]
            nearest = artwork.emojis[family[int(np.argmin(distances))]].tone
            measured.append(ToneEdit(style, case.target.tone or "", nearest))
    return measured


def tone_table(measured: Sequence[ToneEdit]) -> str:
    """Table with a row per style: rate of edits whose nearest image has the tone in the prompt."""
    hits: dict[str, list[bool]] = defaultdict(list)
    for edit in measured:
        hits[edit.style].append(edit.nearest == edit.expected)
    rows = [[style, str(len(selected)), rate(selected)] for style, selected in hits.items()]
    return table(["style", "edits", "nearest image has the tone in the prompt"], rows)
