"""Edits with a true outcome: two images of one set whose captions differ in one attribute."""

from __future__ import annotations

import dataclasses as dc
import hashlib
import itertools
import re
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from operator import attrgetter

from editkit_emoji.training.data import Emoji

OUTLINED = ("gradient", "flat", "3d")
"""Styles that share their outlines; noto is by another artist."""

HOURS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")

INTERCHANGEABLE: dict[str, tuple[tuple[str, ...], ...]] = {
    "hair": (("bald", "curly hair", "red hair", "white hair", "blond hair", "blonde hair"),),
    "gender": (
        ("man", "woman", "person"),
        ("men", "women", "people"),
        ("boy", "girl", "child"),
        ("prince", "princess"),
        ("old man", "old woman", "older person"),
    ),
    "colour": (
        ("red", "orange", "yellow", "green", "blue", "light blue", "purple", "brown", "black", "white", "pink", "grey"),
    ),
    "profession": (
        (
            "artist",
            "astronaut",
            "construction worker",
            "cook",
            "detective",
            "factory worker",
            "farmer",
            "firefighter",
            "guard",
            "health worker",
            "judge",
            "mechanic",
            "office worker",
            "pilot",
            "police officer",
            "scientist",
            "singer",
            "student",
            "teacher",
            "technologist",
        ),
    ),
    "gesture": (
        (
            "bowing",
            "facepalming",
            "frowning",
            "gesturing no",
            "gesturing ok",
            "pouting",
            "raising hand",
            "shrugging",
            "tipping hand",
        ),
    ),
    "expression": (
        (
            "angry face",
            "anguished face",
            "astonished face",
            "beaming face with smiling eyes",
            "confounded face",
            "confused face",
            "crying face",
            "disappointed face",
            "downcast face with sweat",
            "drooling face",
            "expressionless face",
            "face with open mouth",
            "face with rolling eyes",
            "face with tears of joy",
            "face with tongue",
            "face without mouth",
            "fearful face",
            "flushed face",
            "frowning face",
            "grimacing face",
            "grinning face",
            "grinning face with big eyes",
            "grinning face with smiling eyes",
            "grinning face with sweat",
            "grinning squinting face",
            "hushed face",
            "kissing face",
            "loudly crying face",
            "neutral face",
            "pensive face",
            "persevering face",
            "relieved face",
            "sleeping face",
            "slightly frowning face",
            "slightly smiling face",
            "smiling face with heart eyes",
            "smiling face with smiling eyes",
            "smiling face with sunglasses",
            "smirking face",
            "squinting face with tongue",
            "tired face",
            "unamused face",
            "weary face",
            "winking face",
            "winking face with tongue",
            "worried face",
        ),
        (
            "cat with tears of joy",
            "cat with wry smile",
            "crying cat",
            "grinning cat",
            "grinning cat with smiling eyes",
            "kissing cat",
            "pouting cat",
            "smiling cat with heart eyes",
            "weary cat",
        ),
    ),
    "hand": (
        tuple(f"backhand index pointing {way}" for way in ("up", "down", "left", "right")),
        ("thumbs up", "thumbs down"),
        ("palm up hand", "palm down hand"),
        ("left facing fist", "right facing fist"),
        ("leftwards hand", "rightwards hand"),
        ("leftwards pushing hand", "rightwards pushing hand"),
    ),
    "clock": (tuple(f"{hour} {half}" for hour in HOURS for half in ("o clock", "thirty")),),
    "moon": (
        (
            "new moon",
            "waxing crescent moon",
            "first quarter moon",
            "waxing gibbous moon",
            "full moon",
            "waning gibbous moon",
            "last quarter moon",
            "waning crescent moon",
        ),
    ),
}
"""Groups of interchangeable phrases by attribute."""
ATTRIBUTES = ("style", "skin tone", *INTERCHANGEABLE)


@dc.dataclass(frozen=True)
class Pair:
    """An edit with a true outcome: indices of source and target, and the attribute that differs."""

    source: int
    target: int
    attribute: str
    was: str = ""
    new: str = ""
    """Values of the attribute before and after, or empty."""


def slots(title: str, phrases: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each occurrence of a phrase in a title: the title with a gap in its place, and the phrase."""
    alternatives = "|".join(sorted(phrases, key=len, reverse=True))
    for found in re.finditer(rf"(?<!\w)(?:{alternatives})(?!\w)", title):
        yield f"{title[: found.start()]}_{title[found.end() :]}", found.group()


def siblings(emojis: Sequence[Emoji]) -> Iterator[tuple[str, list[tuple[str | None, int]]]]:
    """Yield families of images that differ in one attribute only: its name, and (value, index) of each member."""
    families: dict[tuple[str, Hashable], list[tuple[str | None, int]]] = defaultdict(list)
    for place, emoji in enumerate(emojis):
        if emoji.style in OUTLINED:
            families["style", emoji.title].append((emoji.style, place))
        families["skin tone", (emoji.style, emoji.subject)].append((emoji.tone, place))
        for attribute, groups in INTERCHANGEABLE.items():
            for group in groups:
                for frame, phrase in slots(emoji.title, group):
                    families[attribute, (emoji.style, group, frame)].append((phrase, place))
    for (attribute, _), members in families.items():
        yield attribute, members


def all_pairs(emojis: Sequence[Emoji]) -> list[Pair]:
    """Return all pairs; two captions that differ in several attributes count once, under the first attribute."""
    found: dict[tuple[int, int], Pair] = {}
    for attribute, members in siblings(emojis):
        for (was, source), (new, target) in itertools.permutations(members, 2):
            if was != new:
                found.setdefault((source, target), Pair(source, target, attribute, was or "", new or ""))
    return list(found.values())


def evaluation_pairs(emojis: Sequence[Emoji]) -> list[Pair]:
    """Return the pairs whose target is held out."""
    return [pair for pair in all_pairs(emojis) if emojis[pair.target].held_out]


def training_pairs(emojis: Sequence[Emoji]) -> list[Pair]:
    """Return the pairs without a held-out image."""
    return [pair for pair in all_pairs(emojis) if not (emojis[pair.source].held_out or emojis[pair.target].held_out)]


def ordered(pairs: Sequence[Pair], emojis: Sequence[Emoji]) -> list[Pair]:
    """Order pairs so that every prefix is a fair sample: attributes in turn, a repeated target after all others."""

    def lot(pair: Pair) -> str:
        return hashlib.sha256(f"{emojis[pair.source].key} -> {emojis[pair.target].key}".encode()).hexdigest()

    turns: list[tuple[int, str, Pair]] = []
    for _, of_one in itertools.groupby(sorted(pairs, key=attrgetter("attribute")), key=attrgetter("attribute")):
        uses: dict[int, int] = defaultdict(int)
        ranked = []
        for pair in sorted(of_one, key=lot):
            ranked.append((uses[pair.target], lot(pair), pair))
            uses[pair.target] += 1
        ranked.sort(key=lambda entry: entry[:2])
        turns += [(turn, pair.attribute, pair) for turn, (_, _, pair) in enumerate(ranked)]
    return [pair for _, _, pair in sorted(turns, key=lambda entry: entry[:2])]
