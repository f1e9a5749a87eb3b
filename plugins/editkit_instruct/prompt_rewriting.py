"""Reading and changing a source prompt.

It is a sentence ("a photo of a dog on the grass") or, where it begins with one of the bundled styles, a caption of
emoji artwork ("noto man red hair dark skin tone"). What it says already is replaced in its place; only what is new is
added. The functions that change it take the source, a thing in it and what is said of that, and return the target; they
raise InvalidParameter where the source does not mention the thing.
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


def plain(text: str) -> str:
    """How texts are compared: as long as the text itself, so that a place in one is a place in the other."""
    lower = "".join(letter.lower() if len(letter.lower()) == 1 else letter for letter in text)
    return lower.replace("-", " ").replace("gray", "grey").replace("o'clock", "o clock")


def fits(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, plain(text)) is not None


def find(source: str, pattern: str, start: int = 0, end: int | None = None) -> Span | None:
    """The first place of whole words that fit."""
    words = re.compile(rf"(?<!\w)(?:{pattern})(?!\w)")
    found = words.search(plain(source), start, len(source) if end is None else end)
    return found.span() if found else None


def behind(source: str, pattern: str, at: int = 0) -> int:
    """Where the pattern that begins at a place ends; it may be empty."""
    found = re.compile(pattern).match(plain(source), at)
    return found.end() if found else at


def bare(phrase: str) -> str:
    return re.sub(rf"^(?:{DETERMINER} )+", "", phrase, flags=re.I)


def literally(phrase: str) -> str:
    """A pattern for a phrase, whatever its article."""
    return re.escape(plain(bare(phrase)))


def is_caption(source: str) -> bool:
    return fits(rf"{STYLES} .+", source)


def phrase_start(source: str, at: int) -> int:
    """Where the noun phrase around a place starts, behind its article."""
    breaks = [behind(source, LEAD), *(found.end() for found in re.finditer(BREAK, plain(source)))]
    return max((place for place in breaks if place <= at), default=at)


def phrase_end(source: str, at: int) -> int:
    """Where the noun phrase ends whose adjectives or noun begin at a place."""
    found = re.compile(STOP).search(plain(source), behind(source, f"(?:{ADJECTIVE} )*", at))
    return found.start() if found else len(source)


def position(source: str, thing: str) -> Span:
    """Where the source names a thing; "it" is what the picture shows."""
    place = None if fits(IT, thing) else find(source, literally(thing))
    if place is None and fits(WHOLE, thing):
        place = behind(source, LEAD), phrase_end(source, behind(source, LEAD))
    if place is None:
        raise InvalidParameter(
            f"the source prompt {source!r} does not mention {bare(thing)!r}: "
            "name a thing that it mentions, or give a source prompt that says more of the picture"
        )
    return place


def with_article(words: str) -> str:
    vowel = re.match(r"(?!uni|use|eu|one\b)[aeiou]|hour|honest", words.lower())
    return f"{'an' if vowel else 'a'} {words}"


def splice(source: str, place: Span, words: str) -> str:
    """Put words in a place, with the article before them made to agree; what says the same already is left alone."""
    start, end = place
    if plain(source[start:end]) == plain(words):
        return source
    rest = words + source[end:]
    article = re.search(r"\b(a)n? +$", source[:start], re.I)
    return source[: article.end(1)] + with_article(rest)[1:] if article else source[:start] + rest


def insert(source: str, at: int, words: str) -> str:
    return f"{source[:at]} {words}{source[at:]}"


def describe(source: str, thing: str, adjective: str, kinds: tuple[str, ...] = (COLOUR, SIZE, AGE, LENGTH)) -> str:
    """Put an adjective before a thing, in the place of one of the same kind."""
    named, _ = position(source, thing)
    start, end = phrase_start(source, named), phrase_end(source, named)
    for kind in kinds:
        old = find(source, rf"{kind}(?= \w)", start, end) if fits(kind, adjective) else None
        if old:
            return splice(source, old, plain(adjective))
    if find(source, literally(adjective), start, end):
        return source
    first = next(re.finditer(rf"(?:\b{ADJECTIVE} )*$", plain(source[:named]))).start()
    at = behind(source, f"(?:{ADJECTIVE} )*", named) if fits(COLOUR, adjective) else first
    return splice(source, (at, at), f"{adjective} ")


def put(source: str, thing: str, noun: str) -> str:
    """Put a noun phrase in the place of a thing; where the source has an article, that stays."""
    start, end = position(source, thing)
    before, name = source[:start], bare(noun)
    if fits(WHOLE, thing) and find(source, f"{literally(noun)}$", start, end):
        return source
    if name == noun and fits(rf"{COUNT} .+|.+[^su]s", noun):  # a plural
        start = len(re.sub(r"\ban? +$", "", before, flags=re.I))
    elif re.search(rf"\b(?:{LINK}|{DOING}) $", plain(before)) and re.search(r"\b(?:an?|the)\b", plain(source)):
        name = noun
    return splice(source, (start, end), name)


def exchange(source: str, thing: str, phrase: str) -> str:
    """Put a phrase in the place of the one that it excludes, wherever that stands."""
    kind, name = next(kind for kind in ALTERNATIVES if fits(kind, bare(phrase))), plain(bare(phrase))
    start, end = position(source, thing)
    old = (start, end) if fits(kind, source[start:end]) else find(source, kind, behind(source, FRAME))
    if old:
        return splice(source, old, name)
    if kind == DIRECTION or fits(GESTURE, name):
        return insert(source, phrase_end(source, start), f"facing {name}" if kind == DIRECTION else name)
    if kind == EXPRESSION:
        return describe(source, thing, name)
    job, gender = find(source, PROFESSION), find(source, "|".join(GENDERS))
    if is_caption(source) and kind in GENDERS and job:
        return splice(source, (job[0], job[0]), f"{name} ")
    if is_caption(source) and kind == PROFESSION and gender:
        return insert(source, gender[1], name)
    return put(source, thing, phrase)


def end_of(source: str, said: str = "") -> int:
    """Where to add what is said: in captions where the artwork's names have it, in sentences before a closing style."""
    tones = rf"(?: {TONE} skin tone)*$"
    if not is_caption(source):
        last = r"(?:,[^,]* style.*)?[.! ]*$"
    elif not fits("(?:noto|3d) .+", source):
        last = "$" if said.endswith(" skin tone") else tones
    elif said.endswith(" skin tone"):
        last = rf"(?: {TRAIT})?$"
    else:
        last = "$" if fits(TRAIT, said) else tones
    return next(re.finditer(last, plain(source))).start()


def attach(source: str, thing: str, new: str, joint: str = "with") -> str:
    """Add something to a thing, or where that is empty to the whole."""
    if find(source, literally(new)):
        return source
    end = phrase_end(source, position(source, thing)[0])
    if is_caption(source) and fits(TRAIT, bare(new)):
        return insert(source, end_of(source, bare(new)), bare(new))
    if thing and not is_caption(source):
        if plain(source).startswith(f" {joint} ", end):
            return splice(source, (end, end + len(joint) + 1), f" {joint} {new} and")
        return insert(source, end, f"{joint} {new}")
    links = re.findall(rf"\b(?:{LINK}|{DOING})\b", plain(source[: end_of(source)]))
    return insert(source, end_of(source), f"{'and' if joint in links[-1:] else joint} {new}")


def move(source: str, thing: str, where: str) -> str:
    """Say where a thing is, in the place of where it was."""
    end = phrase_end(source, position(source, thing)[0])
    until = behind(source, rf" {where.split(maxsplit=1)[0].lower()} (?:{DETERMINER} )?", end)
    return splice(source, (end, phrase_end(source, until) if until > end else end), f" {where}")


def cut(source: str, place: Span) -> str:
    """Take a noun phrase out, with its article and what links it to the rest."""
    start, end = place
    begun = phrase_start(source, start)
    start = begun if phrase_end(source, begun) == end else start
    before = re.sub(rf"\b(?:{DETERMINER}|{COUNT}) $", "", source[:start], flags=re.I)
    after = re.sub(r"^ (?:on|over|around) (?:his|her|its|their) \w+", "", source[end:])
    listed = re.match(rf",? and |, (?={DETERMINER} )", after)
    if listed and not re.search(r"(?:and|,) $", before):
        after = after[listed.end() :]
    elif fits(FRAME, before):
        after = re.sub(rf"^(?: (?:{LINK}|{DOING})\b)+", "", after)
    else:
        before = re.sub(rf"(?:,? (?:{LINK}|{DOING}))* $|, $", "", before)
    left = re.sub(" +", " ", before + after).strip()
    if fits(rf"{FRAME}(?:{TONE} skin tone )*", f"{left} "):
        raise InvalidParameter(f"nothing is left of the source prompt {source!r} without {source[slice(*place)]!r}")
    return left
