"""Alignment of the words of two prompts by their tokens."""

from __future__ import annotations

import dataclasses as dc
import difflib
from collections.abc import Sequence

import torch
from torch import Tensor

from editkit import InvalidParameter, Word

_SPECIAL = -1
"""Number of a place that is no word of the prompt: a token that the encoder adds, or padding."""


@dc.dataclass(frozen=True)
class Alignment:
    """Words of a source and a target prompt.

    ``mapper`` (K source, K target) has in column j the shares of the source's words whose maps target word j takes;
    ``kept`` (K target,) is 1 for words that take them and 0 for new ones.
    """

    mapper: Tensor
    kept: Tensor


def align(source: Sequence[Word], target: Sequence[Word], counts: tuple[int, int], *, swap: bool) -> Alignment:
    """Align the places of two prompts, of which there are ``counts``.

    With ``swap`` a word in place of another takes the maps of the one it replaces.
    """
    numbers = _numbers(source, counts[0]), _numbers(target, counts[1])
    mapper, kept = torch.zeros(counts, device="cpu"), torch.zeros(counts[1], device="cpu")
    for kind, a, b, c, d in difflib.SequenceMatcher(None, *numbers, autojunk=False).get_opcodes():
        if kind == "equal":
            for step in range(d - c):
                mapper[a + step, c + step] = kept[c + step] = 1
        elif kind == "replace" and swap:
            mapper[a:b, c:d], kept[c:d] = 1 / (b - a), 1
    return Alignment(mapper, kept)


def _numbers(words: Sequence[Word], count: int) -> list[int]:
    """Return the token of each place."""
    numbers = [_SPECIAL] * count
    for word in words:
        if word.place < count:
            numbers[word.place] = word.token
    return numbers


def word_factors(weights: str, words: Sequence[Word], count: int) -> Tensor | None:
    """Return the factor (K,) of each place by ``hat:1.3+coat:0.5``; None for no weights.

    Raises InvalidParameter for a word that is not in the target prompt, or a factor that is no number from 0 to 10.
    """
    if not weights:
        return None
    factors = torch.ones(count, device="cpu")
    for entry in weights.split("+"):
        name, _, text = entry.rpartition(":")
        try:
            factor = float(text)
        except ValueError:
            factor = -1.0
        if not name or not 0 <= factor <= 10:
            raise InvalidParameter(
                f"prompt-to-prompt:weights={entry!r} is not allowed: WORD:FACTOR with a factor from 0 to 10, as hat:1.3"
            )
        for place in _places(name, words):
            if place < count:
                factors[place] = factor
    return factors


def _places(name: str, words: Sequence[Word]) -> list[int]:
    """Return the places of a word, which may be several tokens; raises InvalidParameter if it is not in the prompt."""
    wanted = name.lower().replace(" ", "")
    for first in range(len(words)):
        text, places = "", []
        for word in words[first:]:
            text += word.text.lower().replace(" ", "")
            places.append(word.place)
            if text == wanted:
                return places
            if not wanted.startswith(text):
                break
    known = " ".join(word.text for word in words)
    raise InvalidParameter(f"prompt-to-prompt:weights names {name!r}, which is no word of the target {known!r}")
