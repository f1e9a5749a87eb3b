"""Reading and changing a source prompt.

A source prompt is a sentence ("a photo of a dog on the grass") or, if it begins with one of the bundled styles, a
caption of emoji artwork ("noto man red hair dark skin tone"). Attributes that it states are replaced in place; new ones
are added. The functions that change a prompt take the source, a thing in it and a value, and return the target; they
raise InvalidParameter if the source does not mention the thing.
"""

from __future__ import annotations

import re

from editkit import InvalidParameter

from .vocabulary import (
    ADJECTIVE,
    AGE,
    ALTERNATIVES,
    BREAK,
    COLOUR,
    COUNT,
    DETERMINER,
    DIRECTION,
    DOING,
    EXPRESSION,
    FRAME,
    GENDERS,
    GESTURE,
    IT,
    LEAD,
    LENGTH,
    LINK,
    PROFESSION,
    SIZE,
    STOP,
    STYLES,
    TONE,
    TRAIT,
    WHOLE,
)

Span = tuple[int, int]


def normalise(text: str) -> str:
    """Normalise text for comparison; the length stays, so that positions in both texts correspond."""
    lower = "".join(letter.lower() if len(letter.lower()) == 1 else letter for letter in text)
    return lower.replace("-", " ").replace("gray", "grey").replace("o'clock", "o clock")


def matches(pattern: str, text: str) -> bool:
    """Return whether the whole text matches a pattern."""
    return re.fullmatch(pattern, normalise(text)) is not None


def find(source: str, pattern: str, start: int = 0, end: int | None = None) -> Span | None:
    """Return the span of the first whole words that match a pattern, or None."""
    words = re.compile(rf"(?<!\w)(?:{pattern})(?!\w)")
    match = words.search(normalise(source), start, len(source) if end is None else end)
    return match.span() if match else None


def match_end(source: str, pattern: str, at: int = 0) -> int:
    """Return the end of the match of a pattern at a position; the position itself if there is none."""
    match = re.compile(pattern).match(normalise(source), at)
    return match.end() if match else at


def strip_determiners(phrase: str) -> str:
    """Return a phrase without its leading articles and possessives."""
    return re.sub(rf"^(?:{DETERMINER} )+", "", phrase, flags=re.I)


def phrase_pattern(phrase: str) -> str:
    """Return a pattern that matches a phrase without its article."""
    return re.escape(normalise(strip_determiners(phrase)))


def is_caption(source: str) -> bool:
    """Return whether a prompt is a caption of emoji artwork."""
    return matches(rf"{STYLES} .+", source)


def _phrase_start(source: str, at: int) -> int:
    """Return the start of the noun phrase around a position, after its article."""
    breaks = [match_end(source, LEAD), *(match.end() for match in re.finditer(BREAK, normalise(source)))]
    return max((place for place in breaks if place <= at), default=at)


def phrase_end(source: str, at: int) -> int:
    """Return the end of the noun phrase whose adjectives or noun begin at a position."""
    match = re.compile(STOP).search(normalise(source), match_end(source, f"(?:{ADJECTIVE} )*", at))
    return match.start() if match else len(source)


def locate(source: str, thing: str) -> Span:
    """Return the span of a thing in the source; "it" is the subject of the image.

    Raises InvalidParameter if the source does not mention the thing.
    """
    place = None if matches(IT, thing) else find(source, phrase_pattern(thing))
    if place is None and matches(WHOLE, thing):
        place = match_end(source, LEAD), phrase_end(source, match_end(source, LEAD))
    if place is None:
        raise InvalidParameter(
            f"the source prompt {source!r} does not mention {strip_determiners(thing)!r}: "
            "name a thing that it mentions, or give a source prompt that says more of the image"
        )
    return place


def add_article(words: str) -> str:
    """Return words with "a" or "an" before them."""
    vowel = re.match(r"(?!uni|use|eu|one\b)[aeiou]|hour|honest", words.lower())
    return f"{'an' if vowel else 'a'} {words}"


def splice(source: str, place: Span, words: str) -> str:
    """Replace a span by words and adapt the article before it; a span with the same words is unchanged."""
    start, end = place
    if normalise(source[start:end]) == normalise(words):
        return source
    rest = words + source[end:]
    article = re.search(r"\b(a)n? +$", source[:start], re.I)
    return source[: article.end(1)] + add_article(rest)[1:] if article else source[:start] + rest


def insert(source: str, at: int, words: str) -> str:
    """Insert words, after a space, at a position."""
    return f"{source[:at]} {words}{source[at:]}"


def set_adjective(source: str, thing: str, adjective: str, kinds: tuple[str, ...] = (COLOUR, SIZE, AGE, LENGTH)) -> str:
    """Put an adjective before a thing; it replaces one of the same kind."""
    noun_start, _ = locate(source, thing)
    start, end = _phrase_start(source, noun_start), phrase_end(source, noun_start)
    for kind in kinds:
        old = find(source, rf"{kind}(?= \w)", start, end) if matches(kind, adjective) else None
        if old:
            return splice(source, old, normalise(adjective))
    if find(source, phrase_pattern(adjective), start, end):
        return source
    first = next(re.finditer(rf"(?:\b{ADJECTIVE} )*$", normalise(source[:noun_start]))).start()
    at = match_end(source, f"(?:{ADJECTIVE} )*", noun_start) if matches(COLOUR, adjective) else first
    return splice(source, (at, at), f"{adjective} ")


def set_noun(source: str, thing: str, noun: str) -> str:
    """Replace a thing by a noun phrase; an article of the source is kept."""
    start, end = locate(source, thing)
    before, name = source[:start], strip_determiners(noun)
    if matches(WHOLE, thing) and find(source, f"{phrase_pattern(noun)}$", start, end):
        return source
    if name == noun and matches(rf"{COUNT} .+|.+[^su]s", noun):  # a plural
        start = len(re.sub(r"\ban? +$", "", before, flags=re.I))
    elif re.search(rf"\b(?:{LINK}|{DOING}) $", normalise(before)) and re.search(r"\b(?:an?|the)\b", normalise(source)):
        name = noun
    return splice(source, (start, end), name)


def set_alternative(source: str, thing: str, phrase: str) -> str:
    """Replace the phrase that a new one excludes, anywhere in the source."""
    name = normalise(strip_determiners(phrase))
    kind = next(kind for kind in ALTERNATIVES if matches(kind, name))
    start, end = locate(source, thing)
    old = (start, end) if matches(kind, source[start:end]) else find(source, kind, match_end(source, FRAME))
    if old:
        return splice(source, old, name)
    if kind == DIRECTION or matches(GESTURE, name):
        return insert(source, phrase_end(source, start), f"facing {name}" if kind == DIRECTION else name)
    if kind == EXPRESSION:
        return set_adjective(source, thing, name)
    job, gender = find(source, PROFESSION), find(source, "|".join(GENDERS))
    if is_caption(source) and kind in GENDERS and job:
        return splice(source, (job[0], job[0]), f"{name} ")
    if is_caption(source) and kind == PROFESSION and gender:
        return insert(source, gender[1], name)
    return set_noun(source, thing, phrase)


def insertion_point(source: str, phrase: str = "") -> int:
    """Return the position for a new phrase: in captions as in names of artwork, in sentences before a final style."""
    tones = rf"(?: {TONE} skin tone)*$"
    if not is_caption(source):
        last = r"(?:,[^,]* style.*)?[.! ]*$"
    elif not matches("(?:noto|3d) .+", source):
        last = "$" if phrase.endswith(" skin tone") else tones
    elif phrase.endswith(" skin tone"):
        last = rf"(?: {TRAIT})?$"
    else:
        last = "$" if matches(TRAIT, phrase) else tones
    return next(re.finditer(last, normalise(source))).start()


def attach(source: str, thing: str, new: str, joint: str = "with") -> str:
    """Add a phrase to a thing, or to the whole prompt if ``thing`` is empty."""
    if find(source, phrase_pattern(new)):
        return source
    end = phrase_end(source, locate(source, thing)[0])
    if is_caption(source) and matches(TRAIT, strip_determiners(new)):
        return insert(source, insertion_point(source, strip_determiners(new)), strip_determiners(new))
    if thing and not is_caption(source):
        if normalise(source).startswith(f" {joint} ", end):
            return splice(source, (end, end + len(joint) + 1), f" {joint} {new} and")
        return insert(source, end, f"{joint} {new}")
    links = re.findall(rf"\b(?:{LINK}|{DOING})\b", normalise(source[: insertion_point(source)]))
    return insert(source, insertion_point(source), f"{'and' if joint in links[-1:] else joint} {new}")


def move(source: str, thing: str, place: str) -> str:
    """Set the place of a thing; it replaces the old one."""
    end = phrase_end(source, locate(source, thing)[0])
    until = match_end(source, rf" {place.split(maxsplit=1)[0].lower()} (?:{DETERMINER} )?", end)
    return splice(source, (end, phrase_end(source, until) if until > end else end), f" {place}")


def cut(source: str, place: Span) -> str:
    """Remove a noun phrase with its article and the words that link it to the rest.

    Raises InvalidParameter if nothing is left of the source.
    """
    start, end = place
    outer_start = _phrase_start(source, start)
    start = outer_start if phrase_end(source, outer_start) == end else start
    before = re.sub(rf"\b(?:{DETERMINER}|{COUNT}) $", "", source[:start], flags=re.I)
    after = re.sub(r"^ (?:on|over|around) (?:his|her|its|their) \w+", "", source[end:])
    listed = re.match(rf",? and |, (?={DETERMINER} )", after)
    if listed and not re.search(r"(?:and|,) $", before):
        after = after[listed.end() :]
    elif matches(FRAME, before):
        after = re.sub(rf"^(?: (?:{LINK}|{DOING})\b)+", "", after)
    else:
        before = re.sub(rf"(?:,? (?:{LINK}|{DOING}))* $|, $", "", before)
    left = re.sub(" +", " ", before + after).strip()
    if matches(rf"{FRAME}(?:{TONE} skin tone )*", f"{left} "):
        raise InvalidParameter(f"nothing is left of the source prompt {source!r} without {source[slice(*place)]!r}")
    return left
