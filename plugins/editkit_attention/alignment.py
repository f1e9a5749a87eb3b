"""Alignment of the words of two prompts by their tokens."""

from __future__ import annotations

import dataclasses as dc
import difflib
import itertools
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


def align(
    source: Sequence[Word],
    target: Sequence[Word],
    counts: tuple[int, int],
    *,
    swap: bool,
    prompts: tuple[str, str] = ("", ""),
) -> Alignment:
    """Align the places of two prompts, of which there are ``counts``.

    With ``swap`` a word in place of another takes the maps of the one it replaces, words of as many in order. The maps
    of a word of more tokens are averaged, those of one of fewer tokens duplicated.
    """
    numbers = _numbers(source, counts[0]), _numbers(target, counts[1])
    mapper, kept = torch.zeros(counts, device="cpu"), torch.zeros(counts[1], device="cpu")
    for kind, a, b, c, d in difflib.SequenceMatcher(None, *numbers, autojunk=False).get_opcodes():
        if kind == "equal":
            for step in range(d - c):
                mapper[a + step, c + step] = kept[c + step] = 1
        elif kind == "replace" and swap:
            kept[c:d] = 1
            old = _runs(_spelled(prompts[0], source, counts[0]), a, b)
            new = _runs(_spelled(prompts[1], target, counts[1]), c, d)
            pairs = zip(old, new, strict=True) if len(old) == len(new) else [(slice(a, b), slice(c, d))]
            for one, other in pairs:
                mapper[one, other] = _overlaps(one.stop - one.start, other.stop - other.start)
    return Alignment(mapper, kept)


def _numbers(words: Sequence[Word], count: int) -> list[int]:
    """Return the token of each place."""
    numbers = [_SPECIAL] * count
    for word in words:
        if word.place < count:
            numbers[word.place] = word.token
    return numbers


def _spelled(prompt: str, words: Sequence[Word], count: int) -> list[int]:
    """Return the word of the prompt that each place belongs to.

    Each place is a word by itself if the tokens do not spell the prompt, once for each text encoder.
    """
    spelled = [-place for place in range(1, count + 1)]
    parts = prompt.lower().split()
    of_letter = [number for number, part in enumerate(parts) for _ in part]
    texts = ["".join(word.text.lower().split()) for word in words]
    if not parts or not ("".join(parts) * len(words)).startswith("".join(texts)):
        return spelled
    letters = 0
    for word, text in zip(words, texts, strict=True):
        if text and word.place < count:
            spelled[word.place] = of_letter[letters % len(of_letter)]
        letters += len(text)
    return spelled


def _runs(values: Sequence[int], begin: int, end: int) -> list[slice]:
    """Return the runs of equal values between two places."""
    borders = [place for place in range(begin + 1, end) if values[place] != values[place - 1]]
    return [slice(*pair) for pair in itertools.pairwise([begin, *borders, end])]


def _overlaps(old: int, new: int) -> Tensor:
    """Return the shares (old, new) of as many tokens in those that take their place, which divide the same length."""
    before, after = new * torch.arange(old + 1, device="cpu"), old * torch.arange(new + 1, device="cpu")
    common = torch.minimum(before[1:, None], after[1:]) - torch.maximum(before[:-1, None], after[:-1])
    return common.clamp(min=0) / old


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
